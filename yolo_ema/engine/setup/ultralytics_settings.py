"""Ultralytics' own training settings, as its users type them (``lr0=0.01``), checked before
anything starts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg import check_cfg, smart_value
from ultralytics.utils import DEFAULT_CFG_DICT, SETTINGS, SETTINGS_FILE

from yolo_ema.errors import ConfigError, MissingPackageError, did_you_mean
from yolo_ema.io.machine import cache_dir, home_folder
from yolo_ema.options.train import LOGGERS

_ONLINE_LOGGERS = {"wandb", "comet", "clearml"}
_CONFIG_FOLDERS = {"Darwin": "Library/Application Support", "Windows": "AppData/Roaming"}
_PACKAGES = {"comet": "comet_ml", "raytune": "ray"}
OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")
_FIXED = {"task": "detect", "mode": "train"}
_ELSEWHERE = frozenset(
    {
        "source",
        "vid_stride",
        "stream_buffer",
        "embed",
        "format",
        "tracker",
        "retina_masks",
        "save_frames",
        "cfg",
        "tile",  # of later releases; ours is an option of its own
    }
)
_PINNED = {"conf": None, "iou": 0.7, "agnostic_nms": False, "augment": False, "tile": False}


def training_settings() -> list[str]:
    """Return the names of all settings that a training takes, sorted."""
    return sorted(set(DEFAULT_CFG_DICT) - _ELSEWHERE - set(_FIXED))


def pinned_settings() -> dict[str, Any]:
    """Return the settings on which the figures of a training's validation rest, whichever defaults
    the installed Ultralytics has for them.
    """
    return {key: value for key, value in _PINNED.items() if key in DEFAULT_CFG_DICT}


def parse_settings(words: Mapping[str, str]) -> dict[str, Any]:
    """Turn ``{"lr0": "0.01", "cos_lr": "true"}`` into typed settings, checked by Ultralytics' own
    rules.

    Raises:
        ConfigError: naming every unknown key with the closest known one, and every value of a wrong
            type or out of range.
    """
    settings: dict[str, Any] = {}
    problems: list[str] = []
    known = training_settings()
    for key, word in words.items():
        if key not in known:
            problems.append(_unknown(key, known))
            continue
        value = smart_value(word)
        if key == "optimizer":
            value = _optimizer(word, problems)
        checked = {key: value}
        try:
            check_cfg(checked)
        except (TypeError, ValueError) as error:
            problems.append(" ".join(str(error).split()))
        settings[key] = checked[key]
    if problems:
        raise ConfigError("; ".join(problems))
    return settings


def _unknown(key: str, known: Iterable[str]) -> str:
    if key in _FIXED:
        return f"{key!r} is always {_FIXED[key]!r} here"
    if key in _ELSEWHERE:
        return f"{key!r} is not a training setting"
    return f"there is no training setting {key!r}{did_you_mean(key, known)}"


def _optimizer(word: str, problems: list[str]) -> str:
    named = {name.lower(): name for name in OPTIMIZERS}
    if word.lower() not in named:
        problems.append(
            f"optimizer is {word!r}; expected one of "
            f"{', '.join(OPTIMIZERS)}{did_you_mean(word, OPTIMIZERS)}"
        )
    return named.get(word.lower(), word)


def user_settings() -> dict[str, Any]:
    """Return the user's own Ultralytics settings (``yolo settings``), or an empty dictionary where
    there are none.

    They are only read: this project keeps Ultralytics' settings in a folder of its own, see
    `environment`.

    Raises:
        ConfigError: the settings file is there and is not a JSON object.
    """
    file = _user_settings_file()
    if file is None or not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"the Ultralytics settings in {file} cannot be read: {error}; 'yolo settings reset' "
            f"recreates them"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"the Ultralytics settings in {file} are not a JSON object; 'yolo settings reset' "
            f"recreates them"
        )
    return content


def _user_settings_file() -> Path | None:
    if (
        Path(os.environ.get("YOLO_CONFIG_DIR", "")).absolute()
        != (cache_dir() / "ultralytics").absolute()
    ):
        return Path(SETTINGS_FILE)  # the user chose the folder
    home, system = home_folder(), platform.system()
    chosen = os.environ.get("XDG_CONFIG_HOME") if system not in _CONFIG_FOLDERS else None
    if chosen:
        base = Path(chosen)
    elif home is not None:
        base = home / _CONFIG_FOLDERS.get(system, ".config")
    else:
        return None
    return base / "Ultralytics" / "settings.json"


def require_loggers(chosen: Iterable[str]) -> None:
    """Raise `MissingPackageError` where a logger that was asked for is not installed; Ultralytics
    would continue without.
    """
    missing = [
        name
        for name in chosen
        if name != "none" and not importlib.util.find_spec(_PACKAGES.get(name, name))
    ]
    if missing:
        packages = " ".join(_PACKAGES.get(name, name) for name in missing)
        raise MissingPackageError(
            f"--loggers names {', '.join(missing)}, not installed here: pip install {packages}"
        )


def enable_loggers(chosen: Iterable[str] = (), *, offline: bool = False) -> tuple[str, ...]:
    """Turn Ultralytics' loggers on and off for this process, and return those that are on.

    Args:
        chosen: exactly these; ``none`` for none; empty for what the user's own Ultralytics settings
            say.
        offline: leave those out that talk to a server of their maker's.
    """
    names = set(chosen)
    if not names:
        settings = {**SETTINGS.defaults, **user_settings()}
        names = {name for name in LOGGERS if settings.get(name) is True}
        if "ray.tune" not in sys.modules:  # no trial of Ray Tune's: its logger would only warn
            names.discard("raytune")
    on = tuple(
        name for name in LOGGERS if name in names and not (offline and name in _ONLINE_LOGGERS)
    )
    # dict's own update: that of Ultralytics would write the file, and this holds for one run.
    dict.update(SETTINGS, {name: name in on for name in LOGGERS} | {"sync": False})
    return on
