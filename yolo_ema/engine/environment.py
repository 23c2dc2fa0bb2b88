"""Sets Ultralytics up before it is first imported: importing `yolo_ema.engine` runs this module.

What is set and why:
    YOLO_OFFLINE=true         no DNS look-up, no telemetry and no update check at import
    YOLO_AUTOINSTALL=false    no package is ever installed at run time
    YOLO_CONFIG_DIR           Ultralytics' settings stay apart from those of the user's other projects, and `sync` stays off
    ULTRALYTICS_SAFE_LOAD=1   weights are unpickled with an allow-list (see `loading`)
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import warnings
from pathlib import Path

__all__ = ["SUPPORTED_ULTRALYTICS", "cache_dir", "ultralytics_version", "use_all_cores"]

SUPPORTED_ULTRALYTICS = ("8.4.190", "8.5")
"""Lower bound (included) and upper bound (excluded), the same as in pyproject.toml."""


def cache_dir() -> Path:
    """Return the folder for what can be made anew: ``$YOLO_EMA_CACHE``, else ``yolo-ema`` in the user's cache folder."""
    if chosen := os.environ.get("YOLO_EMA_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or (Path.home() / ".cache")
    return Path(base) / "yolo-ema"


def _prepare_environment() -> None:
    if "ultralytics" in sys.modules:
        # The user's script imported it first: what is read at import can no longer be set, and it is theirs to choose.
        return
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = cache_dir() / "ultralytics"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)


def ultralytics_version() -> str:
    """Return the installed version of Ultralytics, warning where it is outside the range that the tests cover."""
    version = importlib.metadata.version("ultralytics")
    numbers = _numbers(version)
    if not _numbers(SUPPORTED_ULTRALYTICS[0]) <= numbers < _numbers(SUPPORTED_ULTRALYTICS[1]):
        low, high = SUPPORTED_ULTRALYTICS
        warnings.warn(f"ultralytics {version} is outside the supported range >={low},<{high}", stacklevel=2)
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:3])


def use_all_cores() -> int:
    """Give torch every core that this process may use, and return their number.

    Ultralytics sets ``min(8, cpu_count - 1)`` threads when it selects a device, which halves the speed of a two-core machine.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = int(os.environ.get("YOLO_EMA_THREADS", cores))
    torch.set_num_threads(chosen)
    return chosen


_prepare_environment()
