"""Options of ``yolo-ema train``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.fields import option

__all__ = ["LATEST", "LOGGERS", "PRESET_NAMES", "TrainOptions"]

LATEST = "latest"
"""What ``--resume`` without a word means: the newest unfinished run of the project."""

PRESET_NAMES = ("fast", "balanced", "accurate")

_PRESETS_HELP = (
    "what to start from: fast (yolo11n-ema at 640 pixels, keeps 2 GB for a step), balanced "
    "(yolo11s-ema at 960, 8 GB, 8 times the "
    "operations), accurate (yolo11m-ema-p2 at 1280, 22 GB, 55 times); estimates, explained in "
    "docs/training.md"
)

LOGGERS = ("tensorboard", "wandb", "mlflow", "comet", "clearml", "dvc", "raytune")
"""The experiment loggers that Ultralytics knows, by their names in its settings."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DroneOptions):
    """What to train on what, and how long. Fields that are None are filled in by the preset and the
    machine.
    """

    model: str | None = option(
        None,
        help="a model's name (yolo-ema models lists them), a model YAML, or a .pt to fine-tune",
    )
    data: str = option(
        "visdrone",
        help="visdrone, a folder in VisDrone's layout, a data YAML, or the name of one of "
        "Ultralytics'",
    )
    preset: str = option("balanced", choices=PRESET_NAMES, help=_PRESETS_HELP)
    imgsz: int | None = option(
        None,
        help="side of the square network input in pixels; without it the preset's, or the tile's",
    )
    epochs: int | None = option(None, help="passes over the training images")
    batch: float | None = option(
        None,
        help="images a step over all GPUs; -1 or a share of GPU memory, 0 to 1, finds it by trial",
    )
    device: str = option(
        "auto",
        help="auto (every GPU there is, else the CPU), cpu, mps, or GPU numbers, as in 0 or 0,1",
    )
    workers: int | None = option(None, help="processes that load images, for each GPU")
    pretrained: str = option(
        "auto",
        help="weights to start from: auto (the plain model's), none, a name, or the path of a .pt",
    )
    resume: str | None = option(
        None,
        alone=LATEST,
        metavar="last.pt",
        help="go on with a run that was cut off; alone: the newest",
    )
    seed: int = option(0, help="seed of all random numbers")
    project: Path = option(Path("runs/train"), help="folder that the run's folder is made in")
    name: str | None = option(
        None, help="the run's folder; taken names get a number; without it the model's name"
    )
    loggers: tuple[str, ...] = option(
        (),
        choices=("none", *LOGGERS),
        help="experiment loggers; without it those that your Ultralytics settings turn on",
    )
    offline: bool = option(False, help="forbid every download")
    trust: bool = option(
        False, help="load weights that carry code and run a data YAML's own download script"
    )
    settings: dict[str, str] = option(
        {}, overrides=True, help="any training setting of Ultralytics, as in lr0=0.01 cos_lr=true"
    )

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from super().problems()
        for name, low in (("imgsz", 32), ("epochs", 1), ("workers", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                yield f"--{name} is {value}; expected {low} or more"
        if self.batch is not None and not _is_batch(self.batch):
            yield (
                f"--batch is {self.batch:g}; expected a whole number from 1, -1, or a share of "
                f"GPU memory between 0 and 1"
            )
        if self.name is not None and (not self.name.strip() or Path(self.name).name != self.name):
            yield (
                f"--name is {self.name!r}; expected the name of one folder; where it is made "
                f"goes into --project"
            )
        if "none" in self.loggers and len(self.loggers) > 1:
            yield f"--loggers is {','.join(self.loggers)}; none excludes the others"
        if self.resume is not None and "=" in self.resume and not Path(self.resume).exists():
            yield (
                f"--resume is {self.resume!r}; a setting after --resume alone goes before it, "
                f"as "
                f"in {self.resume} --resume"
            )


def _is_batch(value: float) -> bool:
    return value == -1 or 0 < value < 1 or (value >= 1 and value == int(value))
