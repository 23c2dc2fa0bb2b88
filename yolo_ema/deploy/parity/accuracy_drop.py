"""What fp16 or int8 costs: official figures of weights and file on the same images."""

from __future__ import annotations

from pathlib import Path

from yolo_ema.deploy.parity.model_pair import Sides
from yolo_ema.deploy.parity.parity_report import Loss
from yolo_ema.evaluate.validation import ValResult, validate
from yolo_ema.options.val import ValOptions

__all__ = ["measure_loss"]


def measure_loss(sides: Sides, data: str) -> Loss:
    """Score weights and file on a dataset's val split, at the file's input size, padded alike.

    Raises:
        DataError: the dataset is wrong or not here.
        ConfigError: the classes of weights and data don't fit.
    """
    weights, file = (
        _scored(path, sides, data) for path in (sides.setup.weights, sides.setup.artifact)
    )
    before, after = (one.scorecard.official.official for one in (weights, file))
    return Loss(
        data,
        len(weights.evidence.images),
        (before["AP"] or 0.0, after["AP"] or 0.0),
        (before["AP50"] or 0.0, after["AP50"] or 0.0),
    )


def _scored(path: Path, sides: Sides, data: str) -> ValResult:
    setup = sides.setup
    return validate(
        ValOptions(
            weights=path,
            data=data,
            imgsz=sides.imgsz_hw,
            rectangular=False,
            batch=setup.batch,
            iou=setup.iou,
            device=setup.device,
            trust=setup.trust,
        )
    )
