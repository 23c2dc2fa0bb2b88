"""Options of ``yolo-ema train``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.drone import DRONE, DroneOptions
from yolo_ema.options.fields import LEAST_SIDE_PX, option
from yolo_ema.options.shared import MOST_SEED, device_option, folder_name_problems

__all__ = ["LATEST", "LOGGERS", "PRESET_NAMES", "TrainOptions"]

LATEST = "latest"
"""What ``--resume`` without a word means: the newest unfinished run of the project."""

PRESET_NAMES = ("fast", "balanced", "accurate")

_PRESETS_HELP = (
    "fast (yolo11n-ema at 640 pixels, about 2 GB per step), balanced (yolo11s-ema at 960, 8 GB, 8 "
    "times the operations) or accurate (yolo11m-ema-p2 at 1280, 22 GB, 55 times); these are "
    "estimates, explained in docs/training.md"
)

_MODEL_AND_DATA, _SCHEDULE, _RUN = "model and data", "schedule", "run"

LOGGERS = ("tensorboard", "wandb", "mlflow", "comet", "clearml", "dvc", "raytune")
"""The experiment loggers that Ultralytics knows, by their names in its settings."""

_model_and_data_option = partial(option, group=_MODEL_AND_DATA)
_schedule_option = partial(option, group=_SCHEDULE)
_run_option = partial(option, group=_RUN)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DroneOptions):
    """Options of a training run; what is None is filled in by the preset and the machine.

    Examples:
        >>> from yolo_ema import TrainOptions
        >>> TrainOptions(data="my.yaml", model="yolo11n-ema", epochs=50).epochs
        50
    """

    GROUPS = (_MODEL_AND_DATA, _SCHEDULE, DRONE, _RUN)

    settings: dict[str, str] = option(
        {}, overrides=True, help="any training setting of Ultralytics, as in lr0=0.01 cos_lr=true"
    )
    model: str | None = _model_and_data_option(
        None,
        help="a model name (yolo-ema models lists them; yolo11n-cbam has CBAM in EMA's places), a "
        "model YAML, or a .pt to fine-tune",
    )
    data: str = _model_and_data_option(
        "visdrone",
        help="visdrone, a folder in VisDrone's layout, a data YAML, or the name of a dataset that "
        "Ultralytics ships",
    )
    preset: str = _model_and_data_option("balanced", choices=PRESET_NAMES, help=_PRESETS_HELP)
    pretrained: str = _model_and_data_option(
        "auto", help="initial weights: auto (the plain model's), none, a name, or the path of a .pt"
    )
    imgsz: int | None = _schedule_option(
        None,
        help="side of the square network input in pixels; default: the preset's, or the tile's",
        at_least=LEAST_SIDE_PX,
    )
    epochs: int | None = _schedule_option(None, help="passes over the training images", at_least=1)
    batch: float | None = _schedule_option(
        None,
        help="images per step over all GPUs; -1, or a share of GPU memory between 0 and 1, finds "
        "it by trial",
    )
    seed: int = _schedule_option(
        0, help="seed of all random numbers", at_least=0, at_most=MOST_SEED
    )
    device: str = device_option(
        group=_RUN, help="auto (every GPU, else the CPU), cpu, mps, or GPU numbers, as in 0 or 0,1"
    )
    workers: int | None = _run_option(None, help="data loading processes per GPU", at_least=0)
    resume: str | None = _run_option(
        None,
        alone=LATEST,
        metavar="last.pt",
        help="resume an interrupted run; without a path, the newest",
    )
    project: Path = _run_option(
        Path("runs/train"), help="folder that the run's folder is created in"
    )
    name: str | None = _run_option(
        None,
        help="name of the run's folder; a number is added if it is taken; default: the model's "
        "name",
    )
    loggers: tuple[str, ...] = _run_option(
        (),
        choices=("none", *LOGGERS),
        help="experiment loggers; default: those that your Ultralytics settings turn on",
    )
    offline: bool = _run_option(False, help="forbid every download")
    trust: bool = _run_option(
        False, help="load weights that carry code and run a data YAML's own download script"
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if self.batch is not None and not _is_batch(self.batch):
            yield (
                f"--batch is {self.batch:g}; expected a whole number from 1, -1, or a share of "
                f"GPU memory between 0 and 1"
            )
        yield from folder_name_problems(self.name)
        if "none" in self.loggers and len(self.loggers) > 1:
            yield f"--loggers is {','.join(self.loggers)}; none excludes the others"
        if self.resume is not None and "=" in self.resume and not Path(self.resume).exists():
            yield (
                f"--resume is {self.resume!r}; settings go before a --resume without a path, as in "
                f"{self.resume} --resume"
            )


def _is_batch(value: float) -> bool:
    return value == -1 or 0 < value < 1 or (value >= 1 and value == int(value))
