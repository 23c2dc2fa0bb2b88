"""Pairs the boxes of two runtimes one to one, by overlap and class.

The pairs are the optimal assignment (Jonker and Volgenant, through `lap`), not the greedy one:
where a head without NMS gives several boxes at nearly the same place, a greedy choice can take a
neighbour's counterpart, and two correct boxes look wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import lap
import numpy as np

from yolo_ema.boxes import box_iou

MIN_IOU = 0.5
"""Boxes that overlap less are not the same box; how far a pair lies apart is judged later."""

_MARGIN_PX = 0.5
"""Boxes grow by this on each side: one of no or negative size would not overlap itself."""


@dataclass(frozen=True)
class Matching:
    """Which box is which, as indices into the two sets.

    Attributes:
        pairs: (P, 2) int64, boxes of the same class in the same place.
        class_mismatch: (Q, 2) int64, boxes in the same place with different classes.
        missing: (R,) int64, boxes of the reference without a counterpart.
        spurious: (S,) int64, boxes of the candidate without a counterpart.
    """

    pairs: np.ndarray
    class_mismatch: np.ndarray
    missing: np.ndarray
    spurious: np.ndarray


def match_boxes(reference: np.ndarray, candidate: np.ndarray) -> Matching:
    """Match the boxes of an image one to one: first within each class, then across
    classes.

    Args:
        reference: (N, 6) x1, y1, x2, y2 in pixels, score, class id.
        candidate: (M, 6) likewise.
    """
    pairs = [np.empty((0, 2), np.int64)]
    for class_id in np.intersect1d(reference[:, 5], candidate[:, 5]):
        ref, cand = (np.flatnonzero(rows[:, 5] == class_id) for rows in (reference, candidate))
        pairs.append(_assigned(reference, candidate, ref, cand))
    matched = np.concatenate(pairs)
    missing = np.setdiff1d(np.arange(len(reference)), matched[:, 0])
    spurious = np.setdiff1d(np.arange(len(candidate)), matched[:, 1])
    mismatch = _assigned(reference, candidate, missing, spurious)
    return Matching(
        matched,
        mismatch,
        missing=np.setdiff1d(missing, mismatch[:, 0]),
        spurious=np.setdiff1d(spurious, mismatch[:, 1]),
    )


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU (N, M) of boxes (N, 4+) and (M, 4+), x1, y1, x2, y2, each widened by half a
    pixel.
    """
    return box_iou(_upright(first)[:, None], _upright(second), margin_px=_MARGIN_PX)


def _upright(boxes: np.ndarray) -> np.ndarray:
    """Return (N, 4) float64 corners, the lesser ones first."""
    corners = boxes[:, :4].astype(np.float64).reshape(-1, 2, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _assigned(
    reference: np.ndarray, candidate: np.ndarray, ref: np.ndarray, cand: np.ndarray
) -> np.ndarray:
    """Return the pairs (P, 2) of the assignment with the largest total overlap, less the difference
    in score, among the rows ``ref`` and ``cand``.
    """
    if not len(ref) or not len(cand):
        return np.empty((0, 2), np.int64)
    shared = overlaps(reference[ref], candidate[cand])
    shared[~np.isfinite(shared)] = 0.0  # a box of NaN overlaps nothing
    scores = reference[ref, None, 4].astype(np.float64), candidate[None, cand, 4]
    difference = np.nan_to_num(np.abs(scores[0] - scores[1]), nan=1.0, posinf=1.0).clip(0, 1)
    # Between boxes in one place the scores decide; pairs that overlap too little cost more than
    # anything outweighs.
    cost = np.where(shared >= MIN_IOU, 1 - shared + difference, 2.0 * sum(shared.shape))
    _, counterpart, _ = lap.lapjv(cost, extend_cost=True)
    rows = np.flatnonzero(counterpart >= 0)
    columns = np.asarray(counterpart, dtype=np.int64)[rows]
    near = shared[rows, columns] >= MIN_IOU
    return np.column_stack([ref[rows[near]], cand[columns[near]]])
