"""Which box of one runtime is which of another: one to one, by overlap and class.

The pairs are the optimal assignment (Jonker and Volgenant, through `lap`), not the greedy one:
where a head without NMS gives several boxes at nearly the same place, a greedy choice can take a
neighbour's counterpart, and then two boxes look wrong that are right.
"""

from __future__ import annotations

from dataclasses import dataclass

import lap
import numpy as np

from yolo_ema.boxes import box_iou

__all__ = ["LEAST_IOU", "Matching", "match_boxes", "overlaps"]

LEAST_IOU = 0.5
"""Boxes that overlap less are not the same box. A pair's distance is judged afterwards, much more
strictly.
"""

_MARGIN_PX = 0.5
"""Boxes are widened by this on each side: a head may give a box of no or negative size, which would
not even overlap itself.
"""


@dataclass(frozen=True)
class Matching:
    """Which box is which: indices into the two sets.

    Attributes:
        pairs: (P, 2) int64, boxes of the same class at the same place.
        renamed: (Q, 2) int64, boxes at the same place that bear different classes.
        lost: (R,) int64, boxes of the first set alone.
        extra: (S,) int64, boxes of the second set alone.
    """

    pairs: np.ndarray
    renamed: np.ndarray
    lost: np.ndarray
    extra: np.ndarray


def match_boxes(reference: np.ndarray, other: np.ndarray) -> Matching:
    """Match the boxes of an image one to one: first those of the same class, then what is left,
    whatever its class.

    Args:
        reference: (N, 6) x1, y1, x2, y2 in pixels, score, class id.
        other: (M, 6) likewise.
    """
    pairs: list[np.ndarray] = []
    for class_id in np.intersect1d(reference[:, 5], other[:, 5]):
        of_class, others = (np.flatnonzero(rows[:, 5] == class_id) for rows in (reference, other))
        found = _assigned(reference[of_class], other[others])
        pairs.append(np.column_stack([of_class[found[:, 0]], others[found[:, 1]]]))
    paired = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    lost, extra = _without(len(reference), paired[:, 0]), _without(len(other), paired[:, 1])
    found = _assigned(reference[lost], other[extra])
    renamed = np.column_stack([lost[found[:, 0]], extra[found[:, 1]]])
    return Matching(paired, renamed, _less(lost, renamed[:, 0]), _less(extra, renamed[:, 1]))


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU (N, M) of boxes (N, 4+) and (M, 4+), x1, y1, x2, y2, each widened by half a
    pixel.
    """
    one, other = (_upright(boxes) for boxes in (first, second))
    return box_iou(one[:, None], other, margin_px=_MARGIN_PX)


def _upright(boxes: np.ndarray) -> np.ndarray:
    """Return (N, 4) float64 corners, the lesser ones first."""
    corners = boxes[:, :4].astype(np.float64).reshape(-1, 2, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _assigned(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (P, 2) the pairs of the assignment with the most overlap in sum, less the difference
    of the scores.
    """
    if not len(reference) or not len(other):
        return np.empty((0, 2), np.int64)
    shared = overlaps(reference, other)
    shared[~np.isfinite(shared)] = 0.0  # a box that is not a number is nowhere
    apart = np.nan_to_num(
        np.abs(reference[:, None, 4].astype(np.float64) - other[None, :, 4]), nan=1.0, posinf=1.0
    ).clip(0, 1)
    # Of boxes at one place the scores tell which is which; what overlaps too little is kept out by
    # a cost that nothing outweighs.
    cost = np.where(shared >= LEAST_IOU, 1 - shared + apart, 2.0 * (len(reference) + len(other)))
    _, counterpart, _ = lap.lapjv(cost, extend_cost=True)
    rows = np.flatnonzero(counterpart >= 0)
    columns = np.asarray(counterpart, dtype=np.int64)[rows]
    near = shared[rows, columns] >= LEAST_IOU
    return np.column_stack([rows[near], columns[near]])


def _without(count: int, taken: np.ndarray) -> np.ndarray:
    return _less(np.arange(count), taken)


def _less(indices: np.ndarray, taken: np.ndarray) -> np.ndarray:
    return np.setdiff1d(indices, taken)
