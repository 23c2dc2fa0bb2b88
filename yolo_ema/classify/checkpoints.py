"""Checkpoints of classifiers: tensors and plain values alone, so that loading one runs no code."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolo_ema.classify.models import Architecture, build_classifier
from yolo_ema.classify.recipes import Recipe
from yolo_ema.errors import (
    DamagedWeightsError,
    MachineError,
    WeightsError,
    WeightsNotFoundError,
    first_line,
)
from yolo_ema.io.atomic_files import write_bytes
from yolo_ema.io.file_signature import kind_of
from yolo_ema.options.fields import with_tuples

_FORMAT = "yolo-ema classifier 1"
_EXPECTED = (
    "expected a checkpoint of yolo-ema classify train; a detector's weights go to yolo-ema val, "
    "detect and export"
)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        network: (B, 3, H, W) in, scores (B, K) out; in eval mode, on the CPU.
        architecture: what it is made of.
        recipe: how it was trained, and with it the input's size, mean and standard deviation.
        epoch: epochs that it was trained for.
        metrics: what it scored then.
    """

    network: nn.Module
    architecture: Architecture
    recipe: Recipe
    epoch: int
    metrics: dict[str, float]


def save_checkpoint(
    path: Path,
    *,
    architecture: Architecture,
    recipe: Recipe,
    weights: dict[str, torch.Tensor],
    epoch: int,
    metrics: dict[str, float],
    resume: dict[str, Any] | None,
) -> None:
    """Write a checkpoint atomically.

    ``weights`` is the state dict that was scored, the moving average where there is one; ``resume``
    is what a training continues from, None in a file for use alone.
    """
    content = {
        "format": _FORMAT,
        "task": "classify",
        "architecture": {
            **dataclasses.asdict(architecture),
            "attention_arguments": list(architecture.attention_arguments),
            "classes": list(architecture.classes),
        },
        "recipe": recipe.as_plain(),
        "weights": weights,
        "epoch": epoch,
        "metrics": metrics,
        "resume": resume,
    }
    written = io.BytesIO()  # torch's own writing does not tell a full disk from other faults
    torch.save(content, written)
    write_bytes(path, written.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content, tensors on the CPU; code that a file carries is never run.

    Raises:
        WeightsNotFoundError: there is no such file.
        DamagedWeightsError: it is truncated or no file of torch's.
        WeightsError: it is not a classifier of this project's.
    """
    if not path.is_file():
        raise WeightsNotFoundError(f"there is no weights file {path}; {_EXPECTED}")
    with path.open("rb") as file:
        head = file.read(1024)
    if not head.startswith(b"PK\x03\x04"):
        what = kind_of(head) if head else "empty"
        raise DamagedWeightsError(f"{path} is not a weights file: it is {what}; {_EXPECTED}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a classifier: it holds more than tensors and plain values; {_EXPECTED}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = first_line(error).partition(". ")[0]  # what follows is a guess of torch's
        raise DamagedWeightsError(f"{path} is damaged or cut off: {reason}; {_EXPECTED}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise WeightsError(f"{path} is not a classifier; {_EXPECTED}")
    return content


def described(content: dict[str, Any], path: Path) -> tuple[Architecture, Recipe]:
    """Return what a checkpoint's classifier is made of and how it was trained.

    Raises:
        DamagedWeightsError: the content has other entries than those of this version.
    """
    with entries_fit(path):
        architecture = Architecture(**with_tuples(content["architecture"]))
        return architecture, Recipe(**with_tuples(content["recipe"]))


@contextlib.contextmanager
def entries_fit(path: Path) -> Iterator[None]:
    """Turn what a checkpoint's wrong entries bring about into a `DamagedWeightsError`."""
    try:
        yield
    except MachineError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedWeightsError(
            f"{path} is damaged, or of another version of yolo-ema: its entries do not fit "
            f"({' '.join(reason.split())[:200]})"
        ) from error


def load_classifier(path: Path) -> Classifier:
    """Return the classifier that a checkpoint holds.

    Raises:
        WeightsNotFoundError: there is no such file.
        DamagedWeightsError: it is truncated, or its tensors do not fit its description.
        WeightsError: it is not a classifier of this project's.
        MissingPackageError: timm is not installed.
    """
    content = load_checkpoint(path)
    architecture, recipe = described(content, path)
    with entries_fit(path):
        network = build_classifier(architecture, seed=0)
        network.load_state_dict(content["weights"])
        return Classifier(
            network.eval(), architecture, recipe, int(content["epoch"]), dict(content["metrics"])
        )
