"""The settings of a run: everything that can be wrong is found here, before anything starts."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import LOGGER

from yolo_ema.engine.models.presets import PRESETS, Preset, fitting_batch, training_cost
from yolo_ema.engine.models.published_weights import default_pretrained
from yolo_ema.engine.models.registration import model_yaml
from yolo_ema.engine.setup.devices import ultralytics_device
from yolo_ema.engine.setup.ultralytics_settings import (
    parse_settings,
    pinned_settings,
    require_loggers,
)
from yolo_ema.engine.training.launch import Launch
from yolo_ema.engine.training.restart import resuming, unfinished_run
from yolo_ema.engine.training.resume_plan import CHANGEABLE, plan_resume, planned_data
from yolo_ema.engine.training.run_folder import make_run_folder
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings, command_line
from yolo_ema.engine.training.setting_checks import check_batch, check_settings, warn_of_no_effect
from yolo_ema.engine.training.train_validator import MAX_DET
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.engine.weights.pretrained import resolve_pretrained
from yolo_ema.errors import ConfigError, OfflineError
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.train import LATEST, TrainOptions

_CPU_BATCH = 4
_FLAGS: dict[str, Any] = {
    "model": str,
    "data": str,
    "imgsz": int,
    "epochs": int,
    "batch": float,
    "device": str,
    "workers": int,
    "seed": int,
    "project": Path,
    "name": str,
    "pretrained": str,
    "resume": str,
}
"""Settings of Ultralytics that are flags here, and their types."""

_AS_SWITCH: dict[str, dict[str, str | None]] = {
    "pretrained": {"true": "auto", "false": "none"},
    "resume": {"true": LATEST, "false": None},
}
"""What true and false mean here for those that Ultralytics takes as a switch, too."""


def plan_run(options: TrainOptions, launch: Launch | None = None) -> dict[str, Any]:
    """Return the trainer's settings for what the user asked for, with the run's folder made and the
    data in place.

    Where a launcher has started several processes, ``launch`` is the first one's place, and
    ``device`` is left to each of them.

    Raises:
        ConfigError, ModelError, DataError, WeightsError, MachineError: see `train`.
    """
    options, settings = _merged(options)
    require_loggers(options.loggers)
    check_settings(settings)
    warn_of_no_effect(settings)
    if launch and not options.resume and (last := unfinished_run(options, launch)):
        options = resuming(options, last)
        settings = {key: value for key, value in settings.items() if key in CHANGEABLE}
    processes = launch.world_size if launch else _gpus(ultralytics_device(options.device))
    if options.resume:
        plan = plan_resume(options, settings, launch)
    else:
        plan = _plan_new_run(options, settings, launch, processes)
    if processes > 1:
        check_batch(plan["batch"], processes)
        plan["rect"] = False  # it needs one order of images for all
    return plan


def _plan_new_run(
    options: TrainOptions, settings: dict[str, Any], launch: Launch | None, processes: int
) -> dict[str, Any]:
    """Return Ultralytics' settings of a new run. What can be wrong without a download is checked
    first.
    """
    ignored = [key for key in ("lr0", "momentum") if key in settings]
    if ignored and settings.get("optimizer", "auto") == "auto":
        LOGGER.warning(
            f"optimizer=auto ignores {' and '.join(ignored)}; name one to have them used, as in "
            f"optimizer=AdamW"
        )
    preset = PRESETS[options.preset]
    device = ultralytics_device(options.device)
    if device == "cpu" and preset.name != "fast" and options.imgsz is None:
        LOGGER.warning(
            f"training on the CPU with the preset {preset.name}; --preset fast takes a fraction of "
            f"the time"
        )
    model = options.model or preset.model
    if options.batch is not None and processes > 1:
        check_batch(options.batch, processes)
    _check_without_downloads(model, options, settings)
    config, pretrained = _model_and_weights(model, options)
    if settings.get("exist_ok") and processes > 1:
        raise ConfigError(
            "exist_ok=true cannot be combined with several GPUs or processes: starting them "
            "empties the run's folder; give --name"
        )
    name, exist_ok = options.name or Path(model).stem, settings.get("exist_ok", False)
    if exist_ok:
        _check_not_replaced((config, pretrained), options.project / name)
    # of tiles the size that keeps their resolution
    tile_side = math.ceil(max(options.tile_wh or (0,)) / 32) * 32
    imgsz = options.imgsz or tile_side or preset.imgsz
    overrides = {
        "model": str(config),
        "pretrained": pretrained,
        "imgsz": imgsz,
        "epochs": options.epochs or preset.epochs,
        "batch": _batch(options, preset, config, device, imgsz=imgsz, processes=processes),
        "device": device,
        "seed": options.seed,
        "max_det": MAX_DET,
        **pinned_settings(),
        **({} if options.workers is None else {"workers": options.workers}),
        **settings,
        "data": planned_data(options.data, options, settings),
        RUN_KEY: _run_settings(options, launch).as_dict(),
    }
    return overrides | {"save_dir": str(make_run_folder(options.project, name, exist_ok=exist_ok))}


def _check_not_replaced(first_weights: Iterable[Path | str | bool], folder: Path) -> None:
    """Check that a new run does not begin with checkpoints of the former one in its folder, which
    go when it begins.
    """
    for file in first_weights:
        if str(file).lower().endswith(".pt") and (
            Path(str(file)).resolve().parent == (folder / "weights").resolve()
        ):
            raise ConfigError(
                f"exist_ok=true replaces the run in {folder}, and {file}, which the new one starts "
                f"from, with it; give another --name, or copy the file elsewhere"
            )


def _check_without_downloads(model: str, options: TrainOptions, settings: dict[str, Any]) -> None:
    """Check all that is here already, so that nothing is fetched for a wrong command."""
    if options.project.exists() and not options.project.is_dir():
        raise ConfigError(
            f"--project is {options.project}, which is a file; expected a folder, or a name that "
            f"is not taken"
        )
    named = [options.pretrained] if options.pretrained not in {"auto", "none"} else []
    if model.lower().endswith(".pt"):
        named.append(model)
    else:
        model_yaml(model)
    for weights in named:
        with contextlib.suppress(OfflineError):  # a known name, to be fetched later
            load_model(resolve_pretrained(weights, offline=True), trust=options.trust)
    with contextlib.suppress(OfflineError):
        planned_data(options.data, options, settings, offline=True)


def _gpus(device: str) -> int:
    return 0 if device in {"cpu", "mps"} else len(device.split(","))


def _run_settings(options: TrainOptions, launch: Launch | None) -> RunSettings:
    drone = {field.name: getattr(options, field.name) for field in dataclasses.fields(DroneOptions)}
    return RunSettings(
        DroneOptions(**drone),
        (launch and launch.command) or command_line(),
        options.loggers,
        options.offline,
        options.trust,
        (launch and launch.run_id) or "",
    )


def _merged(options: TrainOptions) -> tuple[TrainOptions, dict[str, Any]]:
    """Check the ``key=value`` settings, and take those that have a flag of their own as that flag.

    Raises:
        ConfigError: a setting is wrong, or given twice.
    """
    settings = parse_settings(options.settings)
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    changes: dict[str, Any] = {}
    for key in [key for key in settings if key in _FLAGS]:
        word, value = options.settings[key], settings.pop(key)
        if getattr(options, key) != defaults[key]:
            raise ConfigError(
                f"{key} is given twice: as --{key} {getattr(options, key)} and as {key}={word}"
            )
        if word.lower() in _AS_SWITCH.get(key, {}):
            changes[key] = _AS_SWITCH[key][word.lower()]
            continue
        try:
            changes[key] = _FLAGS[key](word if _FLAGS[key] in {str, Path} else value)
        except (TypeError, ValueError) as error:
            expected = {int: "a whole number", float: "a number"}[_FLAGS[key]]
            raise ConfigError(f"{key} is {word!r}; expected {expected}") from error
    return dataclasses.replace(options, settings={}, **changes), settings


def _model_and_weights(model: str, options: TrainOptions) -> tuple[Path, str | bool]:
    """Return the model YAML or the .pt to fine-tune, and the weights to start from: a path, True
    for that .pt's, False for none.
    """
    is_weights = model.lower().endswith(".pt")
    config = resolve_pretrained(model, offline=options.offline) if is_weights else model_yaml(model)
    if options.pretrained == "none":
        return config, False
    if options.pretrained != "auto":
        weights = resolve_pretrained(options.pretrained, offline=options.offline)
    elif is_weights:
        load_model(config, trust=options.trust)  # refused now rather than after the data is fetched
        return config.absolute(), True
    else:
        name = default_pretrained(model)
        if name is None:
            LOGGER.warning(
                f"{model} has no published plain counterpart: it starts from random weights "
                f"(--pretrained names others)"
            )
            return config, False
        weights = resolve_pretrained(name, offline=options.offline)
    load_model(weights, trust=options.trust)
    return config.absolute(), str(weights.absolute())


def _batch(
    options: TrainOptions, preset: Preset, config: Path, device: str, *, imgsz: int, processes: int
) -> int | float:
    if options.batch is not None:
        return int(options.batch) if options.batch == int(options.batch) else options.batch
    if not _gpus(device):
        return max(processes, 1) * _CPU_BATCH
    model: Any = (
        load_model(config, trust=options.trust).model.yaml if config.suffix == ".pt" else config
    )
    smallest_gb = min(
        torch.cuda.get_device_properties(int(number)).total_memory / 1e9
        for number in device.split(",")
    )
    return processes * fitting_batch(preset.batch, training_cost(model, imgsz), smallest_gb)
