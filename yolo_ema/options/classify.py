"""Options of ``yolo-ema classify train``, ``classify val`` and ``classify export``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.fields import LEAST_SIDE_PX, Options, option
from yolo_ema.options.shared import device_option, folder_name_problems

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
_DATA_ROOT_HELP = "folder that cifar10 and cifar100 are fetched into"

_network_and_data_option = partial(option, group=_NETWORK_AND_DATA)
_schedule_option = partial(option, group=_SCHEDULE)
_run_option = partial(option, group=_RUN)
_proof_option = partial(option, group=_PROOF)


@dataclass(frozen=True, kw_only=True)
class ClassifyTrainOptions(Options):
    """Options of a classifier's training; what is None is filled in by the recipe.

    Examples:
        >>> from yolo_ema.options.classify import ClassifyTrainOptions
        >>> ClassifyTrainOptions(data="cifar100", attention="ema-g32", epochs=20).attention
        'ema-g32'
    """

    GROUPS = (_NETWORK_AND_DATA, _SCHEDULE, _RUN)

    preset: str | None = _network_and_data_option(
        None, choices=RECIPE_NAMES, help="the recipe; default: cifar100-resnet50"
    )
    data: str | None = _network_and_data_option(
        None, help=f"{_DATA_HELP}; default: the recipe's, or that of the run to resume"
    )
    data_root: Path = _network_and_data_option(Path("datasets"), help=_DATA_ROOT_HELP)
    model: str | None = _network_and_data_option(
        None,
        help="resnet8-tiny, resnet18-cifar, resnet50-cifar, resnet101-cifar or mobilenetv2; "
        "default: the recipe's",
    )
    attention: str | None = _network_and_data_option(
        None,
        help="the attention block in every place for one: none, ema-g32, se, cbam, …, as in "
        "docs/attention.md; default: none",
    )
    attention_arguments: tuple[int, ...] = _network_and_data_option(
        (),
        metavar="N[,…]",
        help="its settings, as 32 groups or a reduction of 16; default: those it is listed with",
    )
    imgsz: int | None = _network_and_data_option(
        None,
        help="side of the square input in pixels; default: the recipe's",
        at_least=LEAST_SIDE_PX,
    )
    epochs: int | None = _schedule_option(
        None,
        help="passes over the training images; the recipe's schedule is stretched to them",
        at_least=1,
    )
    batch: int | None = _schedule_option(None, help="images per step", at_least=2)
    lr: float | None = _schedule_option(None, help="learning rate at its highest", above=0)
    seed: int | None = _schedule_option(
        None, help="seed of all random numbers; default: 0", at_least=0, at_most=2**32 - 1
    )
    device: str = device_option(group=_RUN)
    amp: bool = _run_option(True, help="mixed precision on a GPU")
    workers: int = _run_option(2, help="data loading processes", at_least=0)
    resume: Path | None = _run_option(
        None, metavar="last.pt", help="continue an interrupted run with its settings"
    )
    project: Path = _run_option(
        Path("runs/classify"), help="folder that the run's folder is created in"
    )
    name: str | None = _run_option(
        None,
        help="name of the run's folder; a number is added if it is taken; default: the model's "
        "and the attention's",
    )
    offline: bool = _run_option(False, help="forbid every download")

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from folder_name_problems(self.name)
        fixed = ("preset", "model", "attention", "attention_arguments", "imgsz", "epochs", "batch")
        given = [
            name for name in (*fixed, "lr", "seed", "name") if getattr(self, name) not in {None, ()}
        ]
        if self.attention_arguments and self.attention in {None, "none"} and self.resume is None:
            yield "--attention-arguments is given without a block that takes them; name --attention"
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

    weights: Path = _network_and_data_option(help="a .pt of classify train")
    data: str | None = _network_and_data_option(
        None, help=f"{_DATA_HELP}; default: what it was trained on"
    )
    data_root: Path = _network_and_data_option(Path("datasets"), help=_DATA_ROOT_HELP)
    split: str = _network_and_data_option(
        "val", choices=("train", "val"), help="the images to score on"
    )
    batch: int = _run_option(128, help="images per step", at_least=1)
    device: str = device_option(group=_RUN)
    workers: int = _run_option(2, help="data loading processes", at_least=0)
    offline: bool = _run_option(False, help="forbid every download")


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
    images: tuple[Path, ...] = _proof_option(
        (), help="images, or folders of them, to prove the file on; default: drawn noise"
    )
    limit: int = _proof_option(
        64, help="images at most; larger sets are sampled evenly", at_least=1
    )
    max_difference: float = _proof_option(
        1e-3,
        help="largest allowed difference of a probability, and of a score in parts of the largest",
        above=0,
        at_most=0.1,
    )

    def problems(self) -> Iterator[str]:
        """Yield that the file would replace what is not one."""
        yield from super().problems()
        if self.out is not None and self.out.suffix.lower() != ".onnx":
            yield f"--out is {self.out}; expected a name that ends in .onnx"
