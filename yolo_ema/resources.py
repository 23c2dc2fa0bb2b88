"""Where the shipped YAMLs and weights lie: inside an installed wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["data_dir", "models_dir", "weights_dir"]

_PACKAGE = Path(__file__).resolve().parent


def models_dir() -> Path:
    """Return the folder of the shipped model YAMLs."""
    return _shipped("models")


def data_dir() -> Path:
    """Return the folder of the shipped dataset YAMLs."""
    return _shipped("data")


def weights_dir() -> Path:
    """Return the folder of the shipped weights (it may hold only its README)."""
    return _shipped("weights")


def _shipped(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
