"""Non-maximum suppression: of overlapping boxes of one class the one with the highest score stays.

The same boxes in the same order as Ultralytics' `non_max_suppression` on torchvision's kernel, to
the last bit: the arithmetic is float32 in their order, classes are distinguished by the same offset
(tests hold them against each other).
"""

from __future__ import annotations

import math

import numpy as np

from yolo_ema.inference.predictor import PredictorSettings

_MOST_CANDIDATES = 30_000
_CLASS_OFFSET_PX = 7680
"""Distance between the boxes of two classes; raised where the input is larger."""

_BLOCK = 256
"""Boxes that are compared with all weaker ones at once: bounds the memory."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # boxes without area or end
def suppress(
    candidates: np.ndarray,
    settings: PredictorSettings,
    input_hw: tuple[int, int],
    max_det: int,
) -> np.ndarray:
    """Return the boxes that stay of those that a network proposes for an image.

    Args:
        candidates: (N, 4 + K) float32: center x and y, width, height in pixels of the input, then K
            class scores.
        settings: thresholds and classes.
        input_hw: height and width of the input in pixels.
        max_det: maximum boxes.

    Returns:
        (M, 6) float32, sorted by falling score: x1, y1, x2, y2 in pixels of the input, score, class
        id.
    """
    conf = np.float32(settings.conf)
    candidates = candidates[candidates[:, 4:].max(axis=1) > conf]  # False for NaN
    if settings.multi_label and candidates.shape[1] > 5:
        index, class_ids = np.nonzero(candidates[:, 4:] > conf)
    else:
        index, class_ids = np.arange(len(candidates)), candidates[:, 4:].argmax(axis=1)
    keep = _may_matter(class_ids, settings)
    index, class_ids = index[keep], class_ids[keep]
    scores = candidates[index, 4 + class_ids]
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    index, class_ids, scores = index[order], class_ids[order], scores[order]
    boxes = centers_to_corners(candidates[:, :4])[index]
    offset = 0 if settings.agnostic else max(_CLASS_OFFSET_PX, *input_hw)
    enough = _MOST_CANDIDATES if settings.nms_groups else max_det
    kept = _kept(boxes, class_ids, offset, settings.iou, enough)
    rows = np.column_stack((boxes, scores, class_ids.astype(np.float32)))[kept]
    return _wanted(suppress_groups(rows, settings), settings)[:max_det]


def _may_matter(class_ids: np.ndarray, settings: PredictorSettings) -> np.ndarray:
    """Say which boxes are of a class that is asked for, or of a group with one: a stronger car
    drops a van, also where vans alone are asked for.
    """
    if settings.classes is None:
        return np.ones(len(class_ids), bool)
    matter = set(settings.classes)
    for _ in settings.nms_groups:  # by way of other groups, too
        matter.update(*(group for group in settings.nms_groups if matter.intersection(group)))
    return np.isin(class_ids, sorted(matter))


def _wanted(rows: np.ndarray, settings: PredictorSettings) -> np.ndarray:
    return rows if settings.classes is None else rows[np.isin(rows[:, 5], settings.classes)]


def suppress_groups(rows: np.ndarray, settings: PredictorSettings) -> np.ndarray:
    """Return the boxes that stay when, of those of one group that overlap by more than
    ``group_iou``, only the one of the highest score does: one vehicle is not car and van at once.

    Args:
        rows: (N, 6) float32 x1, y1, x2, y2, score, class id, after NMS within classes.
        settings: the groups and their overlap.

    Returns:
        (M, 6) in their order.
    """
    for group in settings.nms_groups:
        members = np.flatnonzero(np.isin(rows[:, 5], group))
        members = members[np.argsort(-rows[members, 4], kind="stable")]
        boxes = np.ascontiguousarray(rows[members, :4].T)
        stays = _greedy(boxes, settings.group_iou, len(members))
        rows = np.delete(rows, np.delete(members, stays), axis=0)
    return rows


def select_boxes(rows: np.ndarray, settings: PredictorSettings, max_det: int) -> np.ndarray:
    """Return the boxes that count of those that a network or a file has selected by itself.

    Args:
        rows: (N, 6 or more) float32: x1, y1, x2, y2 in pixels of the input, score, class id.
        settings: lowest score and classes.
        max_det: maximum boxes.

    Returns:
        (M, 6) float32 in their order.
    """
    keep = (rows[:, 4] > np.float32(settings.conf)) & _may_matter(rows[:, 5], settings)
    return _wanted(suppress_groups(rows[keep, :6], settings), settings)[:max_det]


def centers_to_corners(boxes: np.ndarray) -> np.ndarray:
    """Return (N, 4) x1, y1, x2, y2 for center x and y, width, height."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def _kept(
    boxes: np.ndarray, class_ids: np.ndarray, offset: int, threshold: float, max_det: int
) -> np.ndarray:
    """Return the indices of the boxes (N, 4) float32, by falling score, that stay, rising. Those of
    class k are moved k times by ``offset``, so that classes lie apart.
    """
    moved = np.ascontiguousarray((boxes + (class_ids * offset).astype(np.float32)[:, None]).T)
    # Boxes that reach further than the offset may meet those of another class.
    if not offset or len(boxes) < 2 or np.ptp(boxes) >= offset or not np.isfinite(boxes).all():
        return _greedy(moved, threshold, max_det)
    kept = [
        group[_greedy(moved[:, group], threshold, max_det)]
        for group in (np.flatnonzero(class_ids == class_id) for class_id in np.unique(class_ids))
    ]
    return np.sort(np.concatenate(kept))


def _greedy(boxes: np.ndarray, threshold: float, max_det: int) -> np.ndarray:
    """Return the indices of the boxes, (4, N) by falling score, that no stronger box that stays
    suppresses.
    """
    limit = np.float32(threshold)
    if float(limit) > threshold:  # torchvision compares float32 overlaps with a float64 threshold
        limit = np.nextafter(limit, np.float32(-math.inf))
    areas = (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])
    kept: list[np.ndarray] = []
    waiting = np.arange(boxes.shape[1])
    while len(waiting) and sum(map(len, kept)) < max_det:
        block, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
        overlaps = _overlap(boxes, areas, block, block, limit)
        stays = np.ones(len(block), dtype=bool)
        for index in range(len(block)):
            if stays[index]:
                stays[index + 1 :] &= ~overlaps[index, index + 1 :]
        kept.append(block[stays])
        if len(waiting):
            waiting = waiting[~_overlap(boxes, areas, kept[-1], waiting, limit).any(axis=0)]
    return np.concatenate([np.empty(0, np.int64), *kept])


def _overlap(
    boxes: np.ndarray, areas: np.ndarray, rows: np.ndarray, columns: np.ndarray, limit: np.float32
) -> np.ndarray:
    """Return (A, B) whether the IoU of boxes ``rows`` and ``columns`` is above the limit.

    In float32 and in torchvision's order; `yolo_ema.boxes` computes in float64.
    """
    first, second = boxes[:, rows, None], boxes[:, None, columns]
    width = np.minimum(first[2], second[2]) - np.maximum(first[0], second[0])
    height = np.minimum(first[3], second[3]) - np.maximum(first[1], second[1])
    shared = np.maximum(width, 0, out=width)
    shared *= np.maximum(height, 0, out=height)
    return shared / (areas[rows, None] + areas[columns] - shared) > limit
