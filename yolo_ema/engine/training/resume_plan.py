"""The settings of a run that is resumed: those of its checkpoint, checked like a user's, except
for the few that may be changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.setup.devices import ultralytics_device
from yolo_ema.engine.setup.ultralytics_settings import training_settings
from yolo_ema.engine.training.launch import Launch
from yolo_ema.engine.training.run_folder import make_run_folder
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings, command_line
from yolo_ema.engine.training.setting_checks import (
    check_data_settings,
    check_same_classes,
    check_settings,
)
from yolo_ema.engine.weights.checkpoints import latest_checkpoint, resumable_checkpoint
from yolo_ema.errors import ConfigError
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.train import LATEST, TrainOptions

CHANGEABLE = {
    "device",
    "workers",
    "data",
    "batch",
    "cache",
    "save_period",
    "patience",
    "val",
    "plots",
    "time",
    "close_mosaic",
}
"""Settings that a resumed run may have otherwise."""

_CHECKED_AS_OPTIONS = {"imgsz": int, "epochs": int, "workers": int, "seed": int, "batch": float}
_OURS = {"model", "data", "device", "project", "name", "pretrained", "resume", "save_dir"}
"""What a resumed run takes from its plan, whatever the checkpoint says."""


def plan_resume(
    options: TrainOptions, settings: dict[str, Any], launch: Launch | None = None
) -> dict[str, Any]:
    """Return the trainer's settings for a run that is resumed.

    Where a launcher has started several processes, ``launch`` is the first one's place.

    Raises:
        ConfigError: the run is finished, an option would change its course, its settings are wrong,
            or the dataset has other classes.
        DataError, WeightsError, MachineError: see `yolo_ema.engine.training.train.train`.
    """
    path = (
        latest_checkpoint(options.project, trust=options.trust)
        if options.resume == LATEST
        else Path(str(options.resume))
    ).absolute()
    checkpoint = resumable_checkpoint(path, trust=options.trust)
    saved = checkpoint["train_args"]
    try:
        kept, run = _checked(saved)
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be resumed: {error}") from error
    _check_unchanged(options, settings, run)
    changed = {
        key: getattr(options, key)
        for key in ("workers", "batch")
        if getattr(options, key) is not None
    }
    merged = {
        **kept,
        **settings,
        **{key: int(value) if value == int(value) else value for key, value in changed.items()},
    }
    data = options.data if options.data != TrainOptions.data else str(saved["data"])
    data_yaml = planned_data(data, options, merged)
    if not merged.get("single_cls"):
        check_same_classes(checkpoint["ema"].names, read_data(data_yaml))
    return {
        **merged,
        "device": ultralytics_device(options.device),
        "data": data_yaml,
        "model": str(path),
        "resume": str(path),
        "save_dir": str(_run_folder(path, options)),
        RUN_KEY: dataclasses.replace(
            run,
            command=(launch and launch.command) or command_line(),
            run_id=(launch and launch.run_id) or "",
            loggers=options.loggers or run.loggers,
            offline=options.offline,
            trust=options.trust,
        ).as_dict(),
    }


def planned_data(
    data: str, options: TrainOptions, settings: Mapping[str, Any], *, offline: bool = False
) -> str:
    """Return the data YAML, which fits the settings; of VisDrone no more is fetched than a training
    reads.

    Raises:
        ConfigError, DataError, OfflineError: see `resolve_data` and `check_data_settings`.
    """
    data_yaml = resolve_data(
        data, offline=offline or options.offline, trust=options.trust, splits=("train", "val")
    )
    check_data_settings(settings, read_data(data_yaml))
    return str(data_yaml.absolute())


def _checked(saved: Mapping[str, Any]) -> tuple[dict[str, Any], RunSettings]:
    """Return a checkpoint's settings that the resumed run takes over. Raises `ConfigError`."""
    run = RunSettings.from_dict(saved.get(RUN_KEY) or {})
    kept = {
        key: value
        for key, value in saved.items()
        if key in training_settings() and key not in _OURS
    }
    check_settings(kept)
    given = {key: kept[key] for key in _CHECKED_AS_OPTIONS if kept.get(key) is not None}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | _CHECKED_AS_OPTIONS[key]):
            raise ConfigError(f"its {key} is {str(value)[:100]!r}; expected a number")
    TrainOptions(**given)
    if not isinstance(saved.get("data"), str):
        raise ConfigError("it does not say which dataset it was trained on; name it with --data")
    return kept, run


def _run_folder(checkpoint: Path, options: TrainOptions) -> Path:
    """Return the folder that the run continues in: the one around its ``weights`` folder; a
    checkpoint that lies elsewhere gets a new one.
    """
    if checkpoint.parent.name == "weights":
        return checkpoint.parent.parent
    folder = make_run_folder(options.project, checkpoint.stem)
    LOGGER.info(f"{checkpoint} lies outside a run's weights folder: the run continues in {folder}")
    return folder


def _check_unchanged(options: TrainOptions, settings: dict[str, Any], run: RunSettings) -> None:
    """Refuse what would make a resumed run another one."""
    free = {"project", "resume", "offline", "trust", "loggers", "settings", *CHANGEABLE}
    given = [
        field
        for field in dataclasses.fields(options)
        if field.name not in free and getattr(options, field.name) != field.default
    ]
    drone = {field.name for field in dataclasses.fields(DroneOptions)}
    changed = [
        f"--{field.name.replace('_', '-')}"
        for field in given
        if field.name not in drone or getattr(run.drone, field.name) != getattr(options, field.name)
    ]
    changed += [key for key in settings if key not in CHANGEABLE]
    if changed:
        raise ConfigError(
            f"a resumed run keeps its settings: {', '.join(changed)} can't change now, only "
            f"{', '.join(sorted(CHANGEABLE))} can; to change the rest, start a new run with "
            f"--model and the checkpoint"
        )
