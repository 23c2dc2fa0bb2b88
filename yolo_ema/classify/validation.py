"""Top-1 and top-5 of a classifier on labelled images."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from yolo_ema.classify.checkpoints import load_classifier
from yolo_ema.classify.images import ClassImages, open_images, transform_for
from yolo_ema.classify.models import parameter_count
from yolo_ema.engine.setup.devices import select_device
from yolo_ema.errors import CheckFailedError, DataError, DataNotFoundError, DeviceMemoryError
from yolo_ema.options.classify import ClassifyTrainOptions, ClassifyValOptions

_TOP = 5


@dataclasses.dataclass(frozen=True)
class Scores:
    """How often a classifier is right.

    Attributes:
        images: number of images.
        loss: mean cross-entropy.
        top1: percent of images whose class has the highest score.
        top5: percent of images whose class is among the five highest; None for five classes or
            fewer, where that says nothing.
    """

    images: int
    loss: float
    top1: float
    top5: float | None

    def as_metrics(self) -> dict[str, float]:
        """Return the figures that there are, by name."""
        figures = {"val_loss": self.loss, "top1": self.top1, "top5": self.top5}
        return {name: value for name, value in figures.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class ClassifyValResult:
    """What ``classify val`` found.

    Attributes:
        weights: the checkpoint.
        data, split: what it was scored on.
        scores: the figures.
        parameters: number of the network's.
        left_out: files of the dataset that are no images or in no class folder.
    """

    weights: Path
    data: str
    split: str
    scores: Scores
    parameters: int
    left_out: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "weights": str(self.weights),
            "data": self.data,
            "split": self.split,
            **dataclasses.asdict(self.scores),
            "parameters": self.parameters,
            "left_out": list(self.left_out),
        }

    def as_text(self) -> str:
        """Return what is printed."""
        scores = self.scores
        top5 = "" if scores.top5 is None else f", top-5 {scores.top5:.2f} %"
        return "\n".join(
            [
                f"{self.weights} on {self.split} of {self.data}, {scores.images:,} images",
                f"top-1 {scores.top1:.2f} %{top5}, loss {scores.loss:.4f}",
                f"{self.parameters / 1e6:.3f} M parameters",
                *left_out_lines(self.left_out),
            ]
        )


def left_out_lines(left_out: tuple[str, ...]) -> list[str]:
    """Return a line that names the files that were left out; none where there are none."""
    if not left_out:
        return []
    files = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
    return [f"left out, no images or in no class folder: {len(left_out)}: {files}"]


def val(options: ClassifyValOptions) -> ClassifyValResult:
    """Score a classifier.

    Raises:
        WeightsError: the checkpoint is not a classifier, or is damaged.
        DataError: the images are not there, cannot be read, or have other classes.
        MachineError: the machine has no such device.
    """
    classifier = load_classifier(options.weights)
    data = options.data or classifier.recipe.data
    device = select_device(options.device)
    images = images_of_checkpoint(options, options.split, options.weights, data)
    check_classes(images, classifier.architecture.classes, data)
    images.transform = transform_for(classifier.recipe, is_training=False)
    loader = loader_of(images, options.batch, options.workers, device)
    return ClassifyValResult(
        options.weights,
        data,
        options.split,
        score(classifier.network.to(device), loader, device),
        parameter_count(classifier.network),
        images.left_out,
    )


def images_of_checkpoint(
    options: ClassifyTrainOptions | ClassifyValOptions, split: str, weights: Path, data: str
) -> ClassImages:
    """Return a split of what the options name, or of what a checkpoint was trained on; see
    `open_images`.
    """
    try:
        return open_images(data, split, root=options.data_root, offline=options.offline)
    except DataNotFoundError as error:
        hint = (
            ""
            if options.data
            else f" ({weights} was trained on it; say with --data where it lies now)"
        )
        raise DataNotFoundError(f"{error}{hint}") from error


def check_classes(images: ClassImages, classes: tuple[str, ...], data: str) -> None:
    """Raise `DataError` where images have other classes than a classifier."""
    if images.classes != classes:
        others = (
            f"class {place} is {mine!r} where it has {its!r}"
            for place, (mine, its) in enumerate(zip(images.classes, classes, strict=False))
            if mine != its
        )
        raise DataError(
            f"{data} has {len(images.classes)} classes and the classifier {len(classes)}: "
            f"{next(others, 'the first ones are the same')}; expected images of the classes that "
            f"it was trained on"
        )


def loader_of(
    images: ClassImages,
    batch: int,
    workers: int,
    device: torch.device,
    *,
    shuffled_by: torch.Generator | None = None,
) -> DataLoader[tuple[Tensor, int]]:
    """Return a loader of batches, in order or shuffled. A last training batch of a single image is
    left out: no norm can learn from it.
    """
    is_training = shuffled_by is not None
    return DataLoader(
        images,
        batch_size=batch,
        shuffle=is_training,
        generator=shuffled_by,
        num_workers=min(workers, os.cpu_count() or 1),
        pin_memory=device.type == "cuda",
        drop_last=is_training and len(images) > batch and len(images) % batch == 1,
    )


def batches(
    loader: DataLoader[tuple[Tensor, int]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs (B, 3, H, W) and labels (B,) on the device.

    Raises:
        DataError: an image cannot be read.
    """
    try:
        for inputs, labels in loader:
            yield (
                # most convolutions are quicker so, on a processor, too
                inputs.to(device, non_blocking=True, memory_format=torch.channels_last),
                torch.as_tensor(labels).to(device, non_blocking=True),
            )
    except DataError as error:  # of a loading process, the message has its traceback, too
        raise DataError(str(error).strip().splitlines()[-1].rpartition("DataError: ")[2]) from error


@contextlib.contextmanager
def memory_is_clear(batch: int | None) -> Iterator[None]:
    """Turn a GPU's lack of memory into a `DeviceMemoryError` that says what helps."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the GPU has too little memory for {batch} images per step; take a smaller --batch"
        ) from error


def score(
    network: nn.Module, loader: DataLoader[tuple[Tensor, int]], device: torch.device
) -> Scores:
    """Return how often a network on ``device`` is right on the loader's images.

    Raises:
        CheckFailedError: its scores are no numbers.
    """
    network.eval()
    count, first, among_five, loss, classes = 0, 0, 0, 0.0, 0
    bar = tqdm(total=len(loader), desc="scoring", disable=None, leave=False)
    with memory_is_clear(loader.batch_size), torch.inference_mode(), bar:
        for inputs, labels in batches(loader, device):
            scores = network(inputs).float()
            classes = scores.shape[1]
            best = scores.topk(min(_TOP, classes), dim=1).indices == labels[:, None]
            count += len(labels)
            first += int(best[:, 0].sum())
            among_five += int(best.sum())
            loss += float(nn.functional.cross_entropy(scores, labels, reduction="sum"))
            bar.update()
    if not math.isfinite(loss):
        raise CheckFailedError("the network's scores are not numbers: its training diverged")
    top5 = 100 * among_five / count if classes > _TOP else None
    return Scores(count, loss / count, 100 * first / count, top5)
