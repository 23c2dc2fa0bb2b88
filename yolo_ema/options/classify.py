"""Options of ``yolo-ema classify train``, ``classify val`` and ``classify export``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import LEAST_SIDE_PX, Options, option
from yolo_ema.options.shared import device_option

__all__ = [
    "DOWNLOADED",
    "RECIPE_NAMES",
    "ClassifyExportOptions",
    "ClassifyTrainOptions",
    "ClassifyValOptions",
]

DOWNLOADED = ("cifar10", "cifar100")
"""Datasets that are fetched where they are absent."""

RECIPE_NAMES = (
    "cifar100-resnet50",
    "cifar100-resnet101",
    "cifar10-resnet18",
    "cifar10-resnet8",
    "imagenet-mobilenetv2",
)

_NETWORK_AND_DATA, _SCHEDULE, _RUN, _PROOF = "network and data", "schedule", "run", "proof"

_DATA_HELP = (
    "cifar10 or cifar100 (fetched if absent), or a folder: train/CLASS/IMAGE and "
    "val/CLASS/IMAGE (or test), or CIFAR's binary files"
)


def _data_root_option() -> Path:
    found: Path = option(
        Path("datasets"),
        help="folder that cifar10 and cifar100 are fetched into",
        group=_NETWORK_AND_DATA,
    )
    return found


@dataclass(frozen=True, kw_only=True)
class ClassifyTrainOptions(Options):
    """Options of a classifier's training; what is None is filled in by the recipe.

    Examples:
        >>> from yolo_ema.options.classify import ClassifyTrainOptions
        >>> ClassifyTrainOptions(data="cifar100", attention="ema-g32", epochs=20).attention
        'ema-g32'
    """

    GROUPS = (_NETWORK_AND_DATA, _SCHEDULE, _RUN)

    preset: str | None = option(
        None,
        choices=RECIPE_NAMES,
        help="the recipe; default: cifar100-resnet50",
        group=_NETWORK_AND_DATA,
    )
    data: str | None = option(
        None, help=f"{_DATA_HELP}; default: the recipe's", group=_NETWORK_AND_DATA
    )
    data_root: Path = _data_root_option()
    model: str | None = option(
        None,
        help="resnet8-tiny, resnet18-cifar, resnet50-cifar, resnet101-cifar or mobilenetv2; "
        "default: the recipe's",
        group=_NETWORK_AND_DATA,
    )
    attention: str | None = option(
        None,
        help="the attention block in every place for one: none, ema-g32, se, cbam, …, as in "
        "docs/attention.md; default: none",
        group=_NETWORK_AND_DATA,
    )
    attention_arguments: tuple[int, ...] = option(
        (),
        metavar="N[,…]",
        help="its settings, as 32 groups or a reduction of 16; default: those it is listed with",
        group=_NETWORK_AND_DATA,
    )
    imgsz: int | None = option(
        None,
        help="side of the square input in pixels; default: the recipe's",
        at_least=LEAST_SIDE_PX,
        group=_NETWORK_AND_DATA,
    )
    epochs: int | None = option(
        None,
        help="passes over the training images; the recipe's schedule is stretched to them",
        at_least=1,
        group=_SCHEDULE,
    )
    batch: int | None = option(None, help="images per step", at_least=2, group=_SCHEDULE)
    lr: float | None = option(None, help="learning rate at its highest", above=0, group=_SCHEDULE)
    seed: int | None = option(
        None, help="seed of all random numbers; default: 0", at_least=0, group=_SCHEDULE
    )
    device: str = device_option(group=_RUN)
    amp: bool = option(True, help="mixed precision on a GPU", group=_RUN)
    workers: int = option(2, help="data loading processes", at_least=0, group=_RUN)
    resume: Path | None = option(
        None, metavar="last.pt", help="continue an interrupted run with its settings", group=_RUN
    )
    project: Path = option(
        Path("runs/classify"), help="folder that the run's folder is created in", group=_RUN
    )
    name: str | None = option(
        None,
        help="name of the run's folder; a number is added if it is taken; default: the model's "
        "and the attention's",
        group=_RUN,
    )
    offline: bool = option(False, help="forbid every download", group=_RUN)

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        if self.name is not None and (not self.name.strip() or Path(self.name).name != self.name):
            yield (
                f"--name is {self.name!r}; expected the name of one folder; the folder that it is "
                "created in goes into --project"
            )
        fixed = ("preset", "model", "attention", "attention_arguments", "imgsz", "epochs", "batch")
        given = [name for name in (*fixed, "lr", "seed", "name") if getattr(self, name)]
        if self.resume is not None and given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            yield f"--resume continues a run with its own settings; leave out {flags}"


@dataclass(frozen=True, kw_only=True)
class ClassifyValOptions(Options):
    """Which classifier to score on which images.

    Examples:
        >>> from yolo_ema.options.classify import ClassifyValOptions
        >>> ClassifyValOptions(weights="runs/classify/best.pt", data="photos").split
        'val'
    """

    GROUPS = (_NETWORK_AND_DATA, _RUN)

    weights: Path = option(help="a .pt of classify train", group=_NETWORK_AND_DATA)
    data: str | None = option(
        None, help=f"{_DATA_HELP}; default: what it was trained on", group=_NETWORK_AND_DATA
    )
    data_root: Path = _data_root_option()
    split: str = option(
        "val", choices=("train", "val"), help="the images to score on", group=_NETWORK_AND_DATA
    )
    batch: int = option(128, help="images per step", at_least=1, group=_RUN)
    device: str = device_option(group=_RUN)
    workers: int = option(2, help="data loading processes", at_least=0, group=_RUN)
    offline: bool = option(False, help="forbid every download", group=_RUN)


@dataclass(frozen=True, kw_only=True)
class ClassifyExportOptions(Options):
    """Which classifier to write as ONNX, and on which images to prove the file.

    Examples:
        >>> from yolo_ema.options.classify import ClassifyExportOptions
        >>> ClassifyExportOptions(weights="best.pt", images=("photos",)).max_difference
        0.001
    """

    GROUPS = (_PROOF,)

    weights: Path = option(help="a .pt of classify train")
    out: Path | None = option(None, help="the file to write; default: beside the weights")
    images: tuple[Path, ...] = option(
        (),
        help="images, or folders of them, to prove the file on; default: drawn noise",
        group=_PROOF,
    )
    limit: int = option(
        64, help="images at most; larger sets are sampled evenly", at_least=1, group=_PROOF
    )
    max_difference: float = option(
        1e-3,
        help="largest allowed difference of a probability, and of a score in parts of the largest",
        above=0,
        at_most=0.1,
        group=_PROOF,
    )
