"""Locates the shipped YAMLs and weights, inside an installed wheel or at the top of a checkout,
finds weights by name, and opens the templates of pages.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_ema.errors import WeightsNotFoundError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent.parent


def models_dir() -> Path:
    """Return the folder of the shipped model YAMLs."""
    return _shipped("models")


def data_dir() -> Path:
    """Return the folder of the shipped dataset YAMLs."""
    return _shipped("data")


def weights_dir() -> Path:
    """Return the folder of the shipped weights (it may hold only its README)."""
    return _shipped("weights")


def weights_path(name_or_path: str | Path) -> Path:
    """Return the path itself, or that of the shipped weights of this name, if no file has it."""
    path = Path(name_or_path)
    shipped = weights_dir() / path.name
    return shipped if len(path.parts) == 1 and not path.exists() and shipped.exists() else path


def missing_weights(path: Path) -> WeightsNotFoundError:
    """Return the error for a missing weights file, with the closest name beside it or among the
    shipped ones.
    """
    folders = {path.parent, weights_dir()} if len(path.parts) == 1 else {path.parent}
    names = sorted({p.name for folder in folders if folder.is_dir() for p in folder.iterdir()})
    return WeightsNotFoundError(f"there is no weights file {path}{did_you_mean(path.name, names)}")


def are_installed(weights: Path) -> bool:
    """Return whether weights came with an installed wheel, beside which nothing is written."""
    return weights.parent == _PACKAGE / "weights"


def page_template(file: Path, **filters: Callable[..., str]) -> Any:
    """Return the jinja2 template of a page of ours, which escapes what it is given."""
    import jinja2  # here alone, since most verbs make no page

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(file.name)


def _shipped(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
