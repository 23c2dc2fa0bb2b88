"""How far the boxes of two runtimes lie apart on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.engine.runtime import Runtime

__all__ = ["Agreement", "compare_boxes", "compare_candidates", "compare_runtimes"]

_SAME_OBJECT_SHARE = 0.25
"""Counterparts lie within this share of the box's longer side, and a pixel."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
        images: how many images were compared.
        boxes: how many boxes have a counterpart in the other runtime; before NMS, all above the lowest score.
        missing: how many have none, on either side; those that a small change of the score would put below the threshold aside.
        box_px: largest difference of a counterpart's coordinate, in pixels of the network's input.
        score: largest difference of a counterpart's score, 0…1.
    """

    images: int
    boxes: int
    missing: int
    box_px: float
    score: float

    def as_json(self) -> dict[str, float]:
        """Return the figures as plain values."""
        return {
            "images": self.images,
            "boxes": self.boxes,
            "boxes_without_counterpart": self.missing,
            "largest_box_difference_px": self.box_px,
            "largest_score_difference": self.score,
        }


def compare_runtimes(reference: Runtime, other: Runtime, images_bgr: Sequence[np.ndarray], *, tolerance_score: float) -> Agreement:
    """Compare two runtimes of the same input size, one image at a time.

    Where neither chooses among its boxes, these are compared before NMS, one by one: NMS turns a difference in the last digit
    into a whole box where two overlap by just the threshold. Otherwise the chosen boxes are matched.

    Args:
        reference: what is right.
        other: what is checked.
        images_bgr: arrays (H, W, 3) uint8.
        tolerance_score: a box this close to the lowest score may be missing.
    """
    found = [_compare_on(image, reference, other, tolerance_score) for image in images_bgr]
    return Agreement(
        len(found),
        sum(one.boxes for one in found),
        sum(one.missing for one in found),
        max((one.box_px for one in found), default=0.0),
        max((one.score for one in found), default=0.0),
    )


def _compare_on(image: np.ndarray, reference: Runtime, other: Runtime, tolerance_score: float) -> Agreement:
    wanted, found = reference.candidates(image), other.candidates(image)
    if wanted is not None and found is not None and wanted.shape == found.shape:
        return compare_candidates(wanted, found, lowest_score=reference.conf)
    # Boxes are in the image's pixels; the network's input shows it at this scale.
    scale = min(side / own for side, own in zip(reference.imgsz_hw, image.shape[:2], strict=True))
    return compare_boxes(reference([image])[0], other([image])[0], threshold=reference.conf + tolerance_score, scale=scale)


def compare_candidates(reference: np.ndarray, other: np.ndarray, *, lowest_score: float) -> Agreement:
    """Compare what two networks propose for one image before NMS.

    Args:
        reference: (N, 4 + K) box and class scores.
        other: likewise, in the same order.
        lowest_score: boxes that neither scores higher than this count for their scores only.
    """
    strong = np.maximum(reference[:, 4:].max(axis=1), other[:, 4:].max(axis=1)) > lowest_score
    differences = np.abs(reference - other)
    # NaN is no agreement: it counts as an endless difference.
    differences[~np.isfinite(differences)] = np.inf
    box_px = float(differences[strong, :4].max(initial=0.0))
    return Agreement(1, int(strong.sum()), 0, box_px, float(differences[:, 4:].max(initial=0.0)))


def compare_boxes(reference: np.ndarray, other: np.ndarray, *, threshold: float = 0.0, scale: float = 1.0) -> Agreement:
    """Compare the boxes of one image: each of the reference with the closest one of its class that is still free.

    Args:
        reference: (N, 6) x1, y1, x2, y2, score, class id.
        other: (M, 6) likewise.
        threshold: boxes of lower score may be missing.
        scale: pixels of the result for one pixel of the boxes.
    """
    free = np.ones(len(other), dtype=bool)
    boxes, missing, box_px, score = 0, 0, 0.0, 0.0
    for row in reference:
        # By distance, not by overlap: a head may give a box of no or negative size, which overlaps not even itself.
        distances = np.where(free & (other[:, 5] == row[5]), np.abs(row[:4] - other[:, :4]).max(axis=1, initial=0.0), np.inf)
        best = int(distances.argmin()) if len(other) else -1
        reach = _SAME_OBJECT_SHARE * float(np.abs(row[2:4] - row[:2]).max()) + 1.0
        if best < 0 or distances[best] > reach:
            missing += bool(row[4] >= threshold)
            continue
        free[best] = False
        boxes += 1
        box_px = max(box_px, float(distances[best]) * scale)
        score = max(score, float(abs(row[4] - other[best, 4])))
    missing += int((other[free, 4] >= threshold).sum())
    return Agreement(1, boxes, missing, box_px, score)
