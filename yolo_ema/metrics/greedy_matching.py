"""Greedy matching of detections to ground truth, for all images and classes at once.

Both protocols walk through the detections of an image and class by falling score and give each the
best box that is still free. That is the stable matching of Gale and Shapley (1962) in which every
ground-truth box prefers the earlier detection: so each detection may propose to its boxes in order
of preference, each box keeps the earliest suitor, and all images take part in the same few rounds
of array operations. Only pairs that overlap enough to count are ever held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.errors import DataError, did_you_mean

_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class BoxTable:
    """The boxes of all images, sorted by image, then class, then (if asked) falling score, then
    order in the file.

    N boxes: `ltwh` (N, 4) in pixels, `score` (N,), `class_id` (N,) from 0, `image_id` (N,),
    `file_rank` (N,) the row's number among the rows of its image, `group` (N,) one number per image
    and class.
    """

    ltwh: np.ndarray
    score: np.ndarray
    class_id: np.ndarray
    image_id: np.ndarray
    file_rank: np.ndarray
    group: np.ndarray

    @classmethod
    def of_images(cls, rows: Sequence[np.ndarray], class_count: int, *, by_score: bool) -> BoxTable:
        """Join one (N, 6) array per image: left, top, width, height, score, category. Only
        categories 1 to ``class_count`` stay.
        """
        image_id = np.repeat(np.arange(len(rows)), [len(image_rows) for image_rows in rows])
        file_rank = (
            np.concatenate([np.arange(len(image_rows)) for image_rows in rows])
            if len(rows)
            else np.zeros(0, dtype=np.int64)
        )
        joined = np.concatenate([*rows, np.zeros((0, 6))])
        known = np.isin(joined[:, 5], np.arange(1, class_count + 1))
        joined, image_id, file_rank = joined[known], image_id[known], file_rank[known]
        class_id = joined[:, 5].astype(np.int64) - 1
        group = image_id * class_count + class_id
        order = np.lexsort((file_rank, -joined[:, 4] if by_score else file_rank, group))
        return cls(
            joined[order, :4],
            joined[order, 4],
            class_id[order],
            image_id[order],
            file_rank[order].astype(np.int64),
            group[order],
        )

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, chosen: np.ndarray) -> BoxTable:
        """Return the rows that a mask or an index array chooses."""
        return BoxTable(
            self.ltwh[chosen],
            self.score[chosen],
            self.class_id[chosen],
            self.image_id[chosen],
            self.file_rank[chosen],
            self.group[chosen],
        )


@dataclass(frozen=True)
class Pairs:
    """P pairs of a detection and a ground-truth box of the same image and class: rows in two
    tables, and their overlap.
    """

    detection: np.ndarray
    gt: np.ndarray
    overlap: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Pairs:
        """Return the pairs that a mask or an index array chooses, in its order."""
        return Pairs(self.detection[chosen], self.gt[chosen], self.overlap[chosen])

    def by_preference(self, last: np.ndarray) -> Pairs:
        """Sort by detection, then by falling overlap, the later of equal ones first; ground-truth
        boxes flagged in ``last`` (M,) come last.
        """
        return self[np.lexsort((-self.gt, -self.overlap, last[self.gt], self.detection))]


def box_rows(
    rows_of: Mapping[str, np.ndarray], names: Sequence[str], what: str
) -> list[np.ndarray]:
    """Return one checked (N, 6) float64 array per name; a name without rows gets an empty one.

    Raises:
        DataError: an array of another shape, or a number that is not finite; the message names
            ``what`` and the image.
    """
    checked = []
    for name in names:
        try:
            rows = np.asarray(rows_of.get(name, ()), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{what} of image {name!r} is not an array of numbers: {error}; expected (N, 6)"
            ) from error
        rows = rows.reshape(0, 6) if rows.size == 0 else rows
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise DataError(
                f"{what} of image {name!r} has shape {rows.shape}; expected (N, 6): left, top, "
                f"width, height, score, category"
            )
        if not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]) + 1
            raise DataError(
                f"{what} of image {name!r}, row {row}, holds a number that is not finite: "
                f"{rows[row - 1].tolist()}"
            )
        checked.append(rows)
    return checked


def refuse_strays(
    ground_truth: Mapping[str, np.ndarray], detections: Mapping[str, np.ndarray]
) -> None:
    """Raise `DataError` if there are detections for an image without ground truth."""
    if stray := sorted(set(detections) - set(ground_truth)):
        hint = did_you_mean(stray[0], ground_truth)
        raise DataError(
            f"there are detections for image {stray[0]!r}, which has no ground truth{hint}"
        )


def overlapping_pairs(
    detections: BoxTable, gt_boxes: BoxTable, minimum: float, absorbing: np.ndarray | None = None
) -> Pairs:
    """Return all pairs of the same group whose overlap is at least ``minimum``, sorted by
    detection, then ground-truth box.

    Args:
        detections: N detections.
        gt_boxes: M ground-truth boxes.
        minimum: the least overlap that can count, above 0.
        absorbing: (M,) flags; the overlap with such a box is intersection over the detection's area
            instead of over the union.
    """
    first = np.searchsorted(gt_boxes.group, detections.group, side="left")
    count = np.searchsorted(gt_boxes.group, detections.group, side="right") - first
    ends = np.cumsum(count)
    parts, start = [_pairs_of_some(detections, gt_boxes, np.arange(0), first[:0], count[:0])], 0
    while start < len(detections):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        parts.append(
            _pairs_of_some(
                detections, gt_boxes, np.arange(start, stop), first[start:stop], count[start:stop]
            )
        )
        start = stop
    detection, gt, intersection = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    detection_area = (detections.ltwh[:, 2] * detections.ltwh[:, 3])[detection]
    gt_area = (gt_boxes.ltwh[:, 2] * gt_boxes.ltwh[:, 3])[gt]
    union = detection_area + gt_area - intersection
    if absorbing is not None:
        union = np.where(absorbing[gt], detection_area, union)
    overlap = np.divide(intersection, union, out=np.zeros(len(union)), where=union > 0)
    enough = overlap >= minimum
    return Pairs(detection[enough], gt[enough], overlap[enough])


def _pairs_of_some(
    detections: BoxTable,
    gt_boxes: BoxTable,
    chosen: np.ndarray,
    first: np.ndarray,
    count: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair some detections with the ground-truth boxes ``first … first + count - 1`` of their
    groups; only those that touch are kept.
    """
    detection = np.repeat(chosen, count)
    gt = (
        np.arange(len(detection))
        - np.repeat(np.cumsum(count) - count, count)
        + np.repeat(first, count)
    )
    for axis in (0, 1):
        side = _common_side(detections.ltwh, gt_boxes.ltwh, detection, gt, axis)
        detection, gt = detection[side > 0], gt[side > 0]
    width = _common_side(detections.ltwh, gt_boxes.ltwh, detection, gt, 0)
    height = _common_side(detections.ltwh, gt_boxes.ltwh, detection, gt, 1)
    return detection, gt, width * height


def _common_side(
    a_ltwh: np.ndarray, b_ltwh: np.ndarray, a: np.ndarray, b: np.ndarray, axis: int
) -> np.ndarray:
    a_end, b_end = a_ltwh[:, axis] + a_ltwh[:, axis + 2], b_ltwh[:, axis] + b_ltwh[:, axis + 2]
    return np.minimum(a_end[a], b_end[b]) - np.maximum(a_ltwh[a, axis], b_ltwh[b, axis])


def match_greedily(detection: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Let detections choose in turn, each the free ground-truth box that it prefers; return which
    pairs are matches.

    Args:
        detection: (P,) sorted ascending: the order in which detections choose.
        gt: (P,) for each detection its acceptable ground-truth boxes, the preferred one first.

    Returns:
        (P,) bool; each detection and each ground-truth box is in at most one chosen pair.
    """
    chosen = np.zeros(len(detection), dtype=bool)
    if len(detection) == 0:
        return chosen
    # the pair that each suitor proposes now
    cursor = np.flatnonzero(np.r_[True, detection[1:] != detection[:-1]])
    end = np.r_[cursor[1:], len(detection)]
    nobody = len(cursor)
    holder = np.full(int(gt.max()) + 1, nobody)
    suitors = np.arange(nobody)
    while len(suitors):
        choice = gt[cursor[suitors]]
        before = holder[choice]
        np.minimum.at(holder, choice, suitors)
        after = holder[choice]
        ousted = before[(before != after) & (before != nobody)]
        suitors = np.unique(np.r_[suitors[after != suitors], ousted])
        cursor[suitors] += 1
        suitors = suitors[cursor[suitors] < end[suitors]]
    chosen[cursor[holder[holder != nobody]]] = True
    return chosen
