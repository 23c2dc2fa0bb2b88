"""COCO's protocol as published VisDrone tables use it: without ignored regions, and with 500
detections per image and class.

The figures equal those of pycocotools with ``maxDets = [1, 10, 100, 500]``. This is our own code
rather than a library because it is one page on top of the matching that the official protocol needs
anyway, and adds no compiled dependency to machines that only score. The tests compare it with
pycocotools and faster-coco-eval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.metrics.greedy_matching import (
    BoxTable,
    Pairs,
    box_rows,
    match_greedily,
    overlapping_pairs,
    refuse_strays,
)

__all__ = ["COCO_FIGURES", "COCO_MAX_DETS", "OBJECT_SIZES", "CocoScores", "evaluate_coco"]

COCO_IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_MAX_DETS = (1, 10, 100, 500)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
OBJECT_SIZES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Ranges of box area in square pixels of the original image, both ends included."""

COCO_FIGURES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR500",
    "AR_small",
    "AR_medium",
    "AR_large",
)


@dataclass(frozen=True)
class CocoScores:
    """Scores by COCO's protocol, in percent. K classes, T = 10 IoU thresholds, S = 4 object sizes,
    4 limits of detections.

    Attributes:
        class_names: (K) names.
        average_precision: (S, K, T) with at most 500 detections per image and class; NaN where a
            class has no object of that size.
        recall: (S, K, T, 4) at `COCO_MAX_DETS`; NaN in the same places.
        ground_truth_count: (S, K) ground-truth boxes of that size.
    """

    class_names: tuple[str, ...]
    average_precision: np.ndarray
    recall: np.ndarray
    ground_truth_count: np.ndarray

    @property
    def summary(self) -> dict[str, float | None]:
        """Return `COCO_FIGURES`, means over the classes that have objects of that size; None where
        there are none.
        """
        return self._figures(slice(None))

    @property
    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Return the same figures for each class."""
        return {name: self._figures(slice(k, k + 1)) for k, name in enumerate(self.class_names)}

    def _figures(self, classes: slice) -> dict[str, float | None]:
        precision, recall = self.average_precision[:, classes], self.recall[:, classes]
        cells = [
            precision[0],
            precision[0, :, 0],
            precision[0, :, 5],
            precision[1],
            precision[2],
            precision[3],
        ]
        cells += [recall[0, :, :, m] for m in range(len(COCO_MAX_DETS))] + [
            recall[s, :, :, -1] for s in (1, 2, 3)
        ]
        return {
            name: _mean_of_known(values) for name, values in zip(COCO_FIGURES, cells, strict=True)
        }


def evaluate_coco(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str] = VISDRONE_CLASSES,
) -> CocoScores:
    """Score detections by COCO's protocol with up to 500 detections per image and class.

    Args:
        ground_truth: for each image (N, 6) rows left, top, width, height in pixels, score,
            category; only categories 1 to K with a score other than 0 count, as in the usual
            conversions of VisDrone to COCO.
        detections: for each image (M, 6) rows of the same form; order matters only among equal
            scores. A missing image has no detections.
        class_names: the K classes' names.

    Raises:
        DataError: a detection's image is not in the ground truth, or an array is not as described.

    Examples:
        >>> import numpy as np
        >>> from yolo_ema import evaluate_coco
        >>> truth = {"a": np.array([[10.0, 20.0, 30.0, 15.0, 1, 4]])}  # ltwh, score, category
        >>> detections = {"a": np.array([[10.0, 20.0, 30.0, 15.0, 0.9, 4]])}
        >>> round(evaluate_coco(truth, detections).summary["AP"], 1)
        100.0
    """
    refuse_strays(ground_truth, detections)
    names, class_count = sorted(ground_truth), len(class_names)
    gt_rows = [rows[rows[:, 4] != 0] for rows in box_rows(ground_truth, names, "the ground truth")]
    gt_boxes = BoxTable.of_images(gt_rows, class_count, by_score=False)
    dets = BoxTable.of_images(
        box_rows(detections, names, "the detections"), class_count, by_score=True
    )
    rank = _rank_in_group(dets.group)
    dets, rank = dets[rank < COCO_MAX_DETS[-1]], rank[rank < COCO_MAX_DETS[-1]]
    pairs = overlapping_pairs(dets, gt_boxes, COCO_IOU_THRESHOLDS[0])
    ranking = np.lexsort((-dets.score, dets.class_id))
    precision, recall, counts = [], [], []
    for low, high in OBJECT_SIZES.values():
        other_size = ~_within(gt_boxes, low, high)
        count = np.bincount(gt_boxes.class_id[~other_size], minlength=class_count)
        judged = _judge(
            dets, pairs.by_preference(other_size), other_size, ~_within(dets, low, high)
        )
        of_size = [
            (_precision(dets, ranking, *outcome, count), _recall(dets, rank, outcome[0], count))
            for outcome in judged
        ]
        precision.append(np.stack([figures[0] for figures in of_size], axis=1))  # (K, T)
        recall.append(np.stack([figures[1] for figures in of_size], axis=1))  # (K, T, 4)
        counts.append(count)
    return CocoScores(
        tuple(class_names), 100 * np.stack(precision), 100 * np.stack(recall), np.stack(counts)
    )


def _within(boxes: BoxTable, low: float, high: float) -> np.ndarray:
    area = boxes.ltwh[:, 2] * boxes.ltwh[:, 3]
    return (area >= low) & (area <= high)


def _rank_in_group(group: np.ndarray) -> np.ndarray:
    """Return each row's place, from 0, among the rows of its group; groups are contiguous."""
    return np.arange(len(group)) - np.searchsorted(group, group, side="left")


def _judge(
    dets: BoxTable, pairs: Pairs, other_size: np.ndarray, dets_other_size: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each threshold which detections are true and which are false positives; the rest
    are neither.
    """
    outcomes = []
    for threshold in COCO_IOU_THRESHOLDS:
        enough = pairs[pairs.overlap >= threshold]
        matched = enough[match_greedily(enough.detection, enough.gt)]
        true, absorbed = np.zeros(len(dets), dtype=bool), np.zeros(len(dets), dtype=bool)
        true[matched.detection[~other_size[matched.gt]]] = True
        absorbed[matched.detection[other_size[matched.gt]]] = True
        outcomes.append((true, ~true & ~absorbed & ~dets_other_size))
    return outcomes


def _recall(
    dets: BoxTable, rank: np.ndarray, true: np.ndarray, ground_truth_count: np.ndarray
) -> np.ndarray:
    """Return (K, 4) recall, NaN for a class without ground truth; ``rank`` is a detection's place
    in its image and class.
    """
    recall = np.full((len(ground_truth_count), len(COCO_MAX_DETS)), np.nan)
    for m, limit in enumerate(COCO_MAX_DETS):
        hits = np.bincount(dets.class_id[true & (rank < limit)], minlength=len(ground_truth_count))
        np.divide(hits, ground_truth_count, out=recall[:, m], where=ground_truth_count > 0)
    return recall


def _precision(
    dets: BoxTable,
    ranking: np.ndarray,
    true: np.ndarray,
    false: np.ndarray,
    ground_truth_count: np.ndarray,
) -> np.ndarray:
    """Return (K,) precision averaged over 101 recall points, NaN for a class without ground truth.

    ``ranking`` sorts all detections by class, then falling score.
    """
    judged = ranking[(true | false)[ranking]]
    bounds = np.searchsorted(dets.class_id[judged], np.arange(len(ground_truth_count) + 1))
    precision = np.full(len(ground_truth_count), np.nan)
    for k in np.flatnonzero(ground_truth_count):
        hit = np.flatnonzero(true[judged[bounds[k] : bounds[k + 1]]])
        hits = np.arange(1, len(hit) + 1)
        envelope = np.maximum.accumulate((hits / (hit + 1 + np.spacing(1)))[::-1])[::-1]
        index = np.searchsorted(hits / ground_truth_count[k], RECALL_POINTS, side="left")
        precision[k] = np.append(envelope, 0.0)[index].mean()
    return precision


def _mean_of_known(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
