"""The settings of a run, new or resumed: everything that can be wrong is found here, before
anything starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER

from yolo_ema.engine.data.datasets import resolve_data
from yolo_ema.engine.models.presets import PRESETS, Preset, fitting_batch, training_cost
from yolo_ema.engine.models.registration import model_yaml
from yolo_ema.engine.setup.devices import choose_device
from yolo_ema.engine.setup.ultralytics_settings import parse_settings, require_loggers
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings, refuse_distillation
from yolo_ema.engine.weights.checkpoints import latest_checkpoint, resumable_checkpoint
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.engine.weights.pretrained import default_pretrained, resolve_pretrained
from yolo_ema.errors import ConfigError, OfflineError
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.train import LATEST, TrainOptions

__all__ = ["MAX_DET", "plan_run"]

MAX_DET = 500
"""Most detections an image in the validation during training; VisDrone's images hold up to 902
objects, its protocol counts 500.
"""

_CPU_BATCH = 4
_RESUMABLE = {
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
"""What those mean here that Ultralytics takes as a switch, too."""


def plan_run(options: TrainOptions) -> dict[str, Any]:
    """Return the trainer's settings for what the user asked for, with the run's folder made and the
    data in place.

    Raises:
        ConfigError, ModelError, DataError, WeightsError, MachineError: see
            `yolo_ema.engine.training.train.train`.
    """
    options, settings = _merged(options)
    require_loggers(options.loggers)
    refuse_distillation(settings)
    return _fresh(options, settings) if options.resume is None else _resumed(options, settings)


def _fresh(options: TrainOptions, settings: dict[str, Any]) -> dict[str, Any]:
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
    device = choose_device(options.device)
    if device == "cpu" and preset.name != "fast" and options.imgsz is None:
        LOGGER.warning(
            f"training on the CPU with the preset {preset.name}; --preset fast takes a fraction of "
            f"the time"
        )
    model = options.model or preset.model
    _check_without_downloads(model, device, options)
    config, pretrained = _model_and_weights(model, options)
    if settings.get("exist_ok") and "," in str(device):
        raise ConfigError(
            "exist_ok=true does not go with several GPUs: starting their processes empties the "
            "run's folder; give --name"
        )
    imgsz = options.imgsz or _tile_side(options) or preset.imgsz
    overrides = {
        "model": str(config),
        "pretrained": pretrained,
        "imgsz": imgsz,
        "epochs": options.epochs or preset.epochs,
        "batch": _batch(options, preset, config, device, imgsz),
        "device": device,
        "seed": options.seed,
        "max_det": MAX_DET,
        **({} if options.workers is None else {"workers": options.workers}),
        **settings,
        "data": _data(options.data, options),
        RUN_KEY: _run_settings(options).as_dict(),
    }
    return overrides | {
        "save_dir": str(
            _new_folder(
                options.project,
                options.name or Path(model).stem,
                exist_ok=settings.get("exist_ok", False),
            )
        )
    }


def _data(data: str, options: TrainOptions, *, offline: bool = False) -> str:
    """Return the data YAML; of VisDrone no more is fetched than a training reads."""
    found = resolve_data(
        data, offline=offline or options.offline, trust=options.trust, splits=("train", "val")
    )
    return str(found.absolute())


def _tile_side(options: TrainOptions) -> int:
    """Return the input size at which training tiles keep their resolution: the longer side, up to a
    multiple of 32; 0 without.
    """
    return -(-max(options.tile_wh or (0,)) // 32) * 32


def _check_without_downloads(model: str, device: str, options: TrainOptions) -> None:
    """Look at everything that is here already, so that nothing is fetched for a command that is
    wrong.
    """
    gpus = _gpus(device)
    if options.batch is not None and gpus > 1 and options.batch < gpus:
        raise ConfigError(
            f"--batch is {options.batch:g}; on {gpus} GPUs it is their images together, at least "
            f"{gpus}"
        )
    if options.project.exists() and not options.project.is_dir():
        raise ConfigError(
            f"--project is {options.project}, which is a file; expected a folder, or a name that "
            f"is free"
        )
    named = [options.pretrained] if options.pretrained not in {"auto", "none"} else []
    if model.lower().endswith(".pt"):
        named.append(model)
    else:
        model_yaml(model)
    for weights in named:
        with contextlib.suppress(OfflineError):  # known, but not here: that is for later
            load_model(resolve_pretrained(weights, offline=True), trust=options.trust)
    with contextlib.suppress(OfflineError):
        _data(options.data, options, offline=True)


def _gpus(device: str) -> int:
    return 0 if device in {"cpu", "mps"} else len(device.split(","))


def _run_settings(options: TrainOptions) -> RunSettings:
    drone = {field.name: getattr(options, field.name) for field in dataclasses.fields(DroneOptions)}
    return RunSettings(
        DroneOptions(**drone), _command(), options.loggers, options.offline, options.trust
    )


def _command() -> str:
    program = Path(sys.argv[0]).name
    return shlex.join(
        ["yolo-ema" if program in {"__main__.py", "yolo-ema"} else program, *sys.argv[1:]]
    )


def _merged(options: TrainOptions) -> tuple[TrainOptions, dict[str, Any]]:
    """Check the ``key=value`` settings, and take those that have a flag of their own as that flag.

    Raises:
        ConfigError: a setting is wrong, or given twice.
    """
    settings = parse_settings(options.settings)
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    taken: dict[str, Any] = {}
    for key in [key for key in settings if key in _FLAGS]:
        word, value = options.settings[key], settings.pop(key)
        if getattr(options, key) != defaults[key]:
            raise ConfigError(
                f"{key} is given twice: as --{key} {getattr(options, key)} and as {key}={word}"
            )
        if word.lower() in _AS_SWITCH.get(key, {}):
            taken[key] = _AS_SWITCH[key][word.lower()]
            continue
        try:
            taken[key] = _FLAGS[key](word if _FLAGS[key] in {str, Path} else value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{key}={word} is not understood; expected {_FLAGS[key].__name__}"
            ) from error
    return dataclasses.replace(options, settings={}, **taken), settings


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
    options: TrainOptions, preset: Preset, config: Path, device: str, imgsz: int
) -> int | float:
    gpus = _gpus(device)
    if options.batch is not None:
        return int(options.batch) if options.batch == int(options.batch) else options.batch
    if not gpus:
        return _CPU_BATCH
    model: Any = (
        load_model(config, trust=options.trust).model.yaml if config.suffix == ".pt" else config
    )
    smallest_gb = min(
        torch.cuda.get_device_properties(int(number)).total_memory / 1e9
        for number in device.split(",")
    )
    return gpus * fitting_batch(
        preset.batch, training_cost(model, -(-imgsz // 32) * 32), smallest_gb
    )


def _new_folder(project: Path, name: str, *, exist_ok: bool = False) -> Path:
    """Make the run's folder; where the name is taken, the first that is free of ``name-2``,
    ``name-3`` and so on.
    """
    project = project.absolute()
    project.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = project / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(exist_ok=exist_ok)
        except FileExistsError:
            number += 1
        else:
            return folder


def _resumed(options: TrainOptions, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that goes on: those of its checkpoint, but for what a machine
    may need otherwise.

    Raises:
        ConfigError: the run is finished, or an option would change its course.
    """
    given = options.resume
    path = (
        latest_checkpoint(options.project, trust=options.trust)
        if given == LATEST
        else Path(str(given))
    )
    path = path.absolute()
    checkpoint = resumable_checkpoint(path, trust=options.trust)
    saved = checkpoint["train_args"]
    run = RunSettings.from_dict(saved.get(RUN_KEY, {}))
    _check_unchanged(options, settings, run)
    kept = {key: value for key, value in saved.items() if key in DEFAULT_CFG_DICT}
    data = options.data if options.data != TrainOptions.data else saved["data"]
    changed = {
        key: getattr(options, key)
        for key in ("workers", "batch")
        if getattr(options, key) is not None
    }
    return {
        **kept,
        **settings,
        **{key: int(value) if value == int(value) else value for key, value in changed.items()},
        "device": choose_device(options.device),
        "data": _data(data, options),
        "model": str(path),
        "resume": str(path),
        # The run may have been moved with all its files; a checkpoint taken out of it goes on where
        # it was.
        "save_dir": str(path.parent.parent if path.parent.name == "weights" else saved["save_dir"]),
        RUN_KEY: dataclasses.replace(
            run,
            command=_command(),
            loggers=options.loggers or run.loggers,
            offline=options.offline,
            trust=options.trust,
        ).as_dict(),
    }


def _check_unchanged(options: TrainOptions, settings: dict[str, Any], run: RunSettings) -> None:
    """Refuse what would make a resumed run another one."""
    steady = {"project", "resume", "offline", "trust", "loggers", "settings", *_RESUMABLE}
    given = [
        f
        for f in dataclasses.fields(options)
        if f.name not in steady and getattr(options, f.name) != f.default
    ]
    drone = {
        field.name: getattr(run.drone, field.name) for field in dataclasses.fields(DroneOptions)
    }
    changed = [
        f"--{f.name.replace('_', '-')}"
        for f in given
        if drone.get(f.name) != getattr(options, f.name)
    ]
    changed += [key for key in settings if key not in _RESUMABLE]
    if changed:
        raise ConfigError(
            f"a resumed run keeps its course: {', '.join(changed)} can't change now, only "
            f"{', '.join(sorted(_RESUMABLE))} can; "
            "to change the rest, start a new run with --model and the checkpoint"
        )
