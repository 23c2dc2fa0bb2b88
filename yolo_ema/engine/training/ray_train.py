"""Training under Ray Train: the function that each of its workers runs.

Nothing here imports Ultralytics before the function runs: it reads RANK and WORLD_SIZE when it is
imported, and Ray sets them in a worker that exists already.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_ema.engine.training.launch import launch_of
from yolo_ema.errors import ConfigError, MissingPackageError, did_you_mean
from yolo_ema.options.train import TrainOptions

if TYPE_CHECKING:
    from yolo_ema.engine.training.train import TrainResult

__all__ = ["ray_train"]


def ray_train(config: Mapping[str, Any]) -> None:
    """Train as one of Ray Train's workers: the function to hand to `ray.train.torch.TorchTrainer`.

    Ray's process group is used, and its GPU of each worker. Every epoch's metrics are reported, at
    the end those of the best weights, in percent, with a checkpoint that holds ``best.pt`` and
    ``run.json``. A run that Ray starts again resumes from its last epoch.

    Args:
        config: ``train_loop_config``: fields of `TrainOptions` by name. ``project`` is required, an
            absolute path on a disk that every node sees; ``device`` is left to Ray.

    Raises:
        ConfigError: an option is unknown or wrong.
        MissingPackageError: Ray is not installed.
        YoloEmaError: see `train`.

    Examples:
        >>> from yolo_ema import ray_train
        >>> ray_train({"data": "my.yaml", "project": "runs"})
        Traceback (most recent call last):
            ...
        yolo_ema.errors.ConfigError: project is 'runs'; expected an absolute path, on a disk that...
    """
    options = _options(config)
    try:
        from ray import train as ray
    except ImportError as error:
        raise MissingPackageError(
            'training under Ray needs the package ray: pip install "yolo-ema[ray]"'
        ) from error
    result = _train(options, ray)
    first = ray.get_context().get_world_rank() == 0
    with tempfile.TemporaryDirectory(prefix="yolo-ema-") as folder:
        for file in (result.best, result.record) if first else ():
            shutil.copy(file, folder)
        metrics = {name: value for name, value in result.metrics.items() if value is not None}
        checkpoint = ray.Checkpoint.from_directory(folder) if first else None
        ray.report(metrics, checkpoint=checkpoint)


def _options(config: Mapping[str, Any]) -> TrainOptions:
    known = {field.name: field for field in dataclasses.fields(TrainOptions)}
    for name in config:
        if name not in known:
            raise ConfigError(f"{name!r} is not a training option{did_you_mean(name, known)}")
    if not Path(config.get("project", "")).is_absolute():
        raise ConfigError(
            f"project is {str(config.get('project', ''))!r}; expected an absolute path, on a disk "
            f"that every node sees: Ray's workers run in folders of their own"
        )
    if config.get("device", "auto") != "auto":
        raise ConfigError(
            f"device is {config['device']!r}; leave it out: ScalingConfig(use_gpu=…) decides it"
        )
    tuples = {name: tuple(value) for name, value in config.items() if isinstance(value, list)}
    return TrainOptions(**{**config, **tuples, "project": Path(config["project"])})


def _train(options: TrainOptions, ray: Any) -> TrainResult:
    from yolo_ema.engine.setup.environment import log_to_stderr
    from yolo_ema.engine.training.train import train, train_together

    def report(trainer: Any) -> None:
        ray.report({key: float(value) for key, value in (trainer.metrics or {}).items()})

    callbacks = {"on_fit_epoch_end": report}
    context = ray.get_context()
    if context.get_world_size() == 1:
        return train(dataclasses.replace(options, device=_device()), callbacks=callbacks)
    launch = launch_of(os.environ, has_group=True)
    if launch is None:
        raise ConfigError("Ray's workers have no process group; hand ray_train to a TorchTrainer")
    name = context.get_experiment_name()
    launch = dataclasses.replace(launch, run_id=name, command=f"ray_train as {name}")
    with log_to_stderr():
        return train_together(options, launch, callbacks)


def _device() -> str:
    import torch

    return str(torch.cuda.current_device()) if torch.cuda.is_available() else "cpu"
