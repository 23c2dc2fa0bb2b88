"""How large the objects were that a network was trained on, as its checkpoint or exported file
tells: tiles are planned by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolo_ema.tiling.plan import ObjectSizes

_SOURCE_MEDIAN, _INPUT_TENTH = "object_source_median_px", "object_input_tenth_px"


def measured_sizes(labels: Sequence[Mapping[str, Any]], imgsz: int) -> dict[str, float]:
    """Return what a checkpoint keeps of its training objects' sizes, the square roots of their
    boxes' areas in pixels.

    Args:
        labels: per image or tile ``shape`` (height, width) in pixels and ``bboxes`` (N, 4) as
            shares of it, x_center y_center w h.
        imgsz: to how many pixels the longer side is scaled in training.

    Returns:
        The median in the pixels of the images, and the size below which a tenth lies in the
        network's input. Empty without objects.
    """
    source, scaled = [], []
    for label in labels:
        height, width = label["shape"]
        sizes = np.sqrt(np.prod(label["bboxes"][:, 2:].astype(np.float64), axis=1) * height * width)
        source.append(sizes)
        scaled.append(sizes * imgsz / max(height, width))
    sides = np.concatenate([np.empty(0), *source])
    if not len(sides):
        return {}
    tenth = np.quantile(np.concatenate(scaled), 0.1)
    return {_SOURCE_MEDIAN: round(float(np.median(sides)), 2), _INPUT_TENTH: round(float(tenth), 2)}


def recorded_sizes(metadata: Mapping[str, Any]) -> ObjectSizes | None:
    """Return what `measured_sizes` put into a checkpoint, or an export of it has; None where it
    says nothing sensible.
    """
    values = [
        value
        for key in (_SOURCE_MEDIAN, _INPUT_TENTH)
        if isinstance(value := metadata.get(key), float)
    ]
    if len(values) < 2 or not all(0 < value < float("inf") for value in values):
        return None
    return ObjectSizes(*values)


def entries_of(sizes: ObjectSizes) -> dict[str, float]:
    """Return the sizes as a checkpoint or an exported file keeps them."""
    return {_SOURCE_MEDIAN: sizes.source_median, _INPUT_TENTH: sizes.input_tenth}
