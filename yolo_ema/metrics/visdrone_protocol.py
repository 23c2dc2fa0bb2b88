"""VisDrone2019-DET's official protocol, vectorised; the figures equal those of the
VisDrone2018-DET-toolkit.

It differs from COCO's: boxes that ignored regions cover by half or more are dropped, ground truth
and detections alike; the first rows of an image's file count, over all classes; AP is the whole
area under the precision envelope; ignore boxes count in the recall's denominator; and a class
enters the mean once for every image that contains it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.constants import IGNORED, VISDRONE_CLASSES
from yolo_ema.errors import DataError, did_you_mean
from yolo_ema.metrics.greedy_matching import (
    BoxTable,
    Pairs,
    box_rows,
    match_greedily,
    overlapping_pairs,
    refuse_strays,
)
from yolo_ema.metrics.ignored_coverage import ignored_share

__all__ = [
    "IOU_THRESHOLDS",
    "MAX_DETS",
    "OFFICIAL_FIGURES",
    "Curve",
    "OfficialScores",
    "evaluate_official",
    "without_ignored",
]

IOU_THRESHOLDS = tuple(0.5 + 0.05 * i for i in range(10))
MAX_DETS = (1, 10, 100, 500)
OFFICIAL_FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500")
COVERED = 0.5
"""Boxes with at least this share inside ignored regions are dropped."""


@dataclass(frozen=True)
class Curve:
    """A class at IoU 0.5: recall and precision, both 0 to 1, and score at each true positive, (P,)
    each, and the scores of all detections that are right or wrong, (D,); all by falling score.
    """

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray
    judged_score: np.ndarray


@dataclass(frozen=True)
class OfficialScores:
    """Scores by the official protocol, in percent. K classes, T = 10 IoU thresholds, 4 limits of
    detections per image.

    Attributes:
        class_names: (K) names.
        average_precision: (K, T) with at most 500 detections per image.
        recall: (K, T, 4) the highest recall at `MAX_DETS`.
        ground_truth_count: (K,) ground-truth boxes after dropping, ignore boxes included.
        image_count: (K,) images with such a box: the weight of the class in the official mean.
        curves: (K) precision over recall at IoU 0.5.
    """

    class_names: tuple[str, ...]
    average_precision: np.ndarray
    recall: np.ndarray
    ground_truth_count: np.ndarray
    image_count: np.ndarray
    curves: tuple[Curve, ...]

    @property
    def official(self) -> dict[str, float | None]:
        """Return `OFFICIAL_FIGURES` as the toolkit prints them: classes weighted by the number of
        images that contain them.
        """
        return self._mean(self.image_count)

    @property
    def macro(self) -> dict[str, float | None]:
        """Return the same figures as plain means over the classes that occur."""
        return self._mean((self.image_count > 0).astype(np.int64))

    @property
    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Return the same figures for each class; None for a class that does not occur."""
        alone = np.eye(len(self.class_names), dtype=np.int64)
        return {
            name: self._mean(alone[k] * self.image_count[k])
            for k, name in enumerate(self.class_names)
        }

    def _mean(self, weight: np.ndarray) -> dict[str, float | None]:
        if weight.sum() == 0:
            return dict.fromkeys(OFFICIAL_FIGURES)
        precision = np.average(self.average_precision, axis=0, weights=weight)  # (T,)
        recall = np.average(self.recall, axis=0, weights=weight).mean(axis=0)  # (4,)
        values = (precision.mean(), precision[0], precision[5], *recall)
        return {name: float(value) for name, value in zip(OFFICIAL_FIGURES, values, strict=True)}


def evaluate_official(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    sizes_wh: Mapping[str, tuple[int, int]],
    *,
    class_names: Sequence[str] = VISDRONE_CLASSES,
) -> OfficialScores:
    """Score detections by the official protocol.

    Args:
        ground_truth: for each image (N, 6) rows left, top, width, height in pixels, score,
            category: category 0 is an ignored region, 1 to K a class, above K neither; a class's
            box with score 0 is an ignore box. Rows in file order.
        detections: for each image (M, 6) rows of the same form, with the detector's score. Only the
            first 500 of an image count, so sort them by falling score. An image that is missing
            here has no detections.
        sizes_wh: for each image its width and height in pixels.
        class_names: the K classes' names.

    Returns:
        The figures in percent.

    Raises:
        DataError: a detection's image is not in the ground truth, an image has no size, or an array
            does not have the described form.

    Examples:
        >>> import numpy as np
        >>> from yolo_ema import evaluate_official
        >>> truth = {"a": np.array([[10.0, 20.0, 30.0, 15.0, 1, 4]])}  # ltwh, score, category
        >>> detections = {"a": np.array([[10.0, 20.0, 30.0, 15.0, 0.9, 4]])}
        >>> evaluate_official(truth, detections, {"a": (640, 360)}).official["AP"]
        100.0
    """
    names = _checked_names(ground_truth, detections, sizes_wh)
    kept_gt, kept_detections = without_ignored(ground_truth, detections, sizes_wh)
    class_count, threshold_count = len(class_names), len(IOU_THRESHOLDS)
    gt_boxes = BoxTable.of_images([kept_gt[name] for name in names], class_count, by_score=False)
    rows = [kept_detections[name] for name in names]
    dets = BoxTable.of_images(rows, class_count, by_score=True)
    dets = dets[dets.file_rank < MAX_DETS[-1]]
    absorbing = gt_boxes.score == 0
    pairs = overlapping_pairs(dets, gt_boxes, IOU_THRESHOLDS[0], absorbing).by_preference(absorbing)
    ground_truth_count = np.bincount(gt_boxes.class_id, minlength=class_count)
    recall = np.zeros((class_count, threshold_count, len(MAX_DETS)))
    precision = np.zeros((class_count, threshold_count))
    ranking = np.lexsort((np.arange(len(dets)), -dets.score, dets.class_id))
    curves: tuple[Curve, ...] = ()
    for m, limit in enumerate(MAX_DETS):
        within = dets.file_rank < limit
        looked_at = pairs[within[pairs.detection]]
        for t, threshold in enumerate(IOU_THRESHOLDS):
            true, neutral = _outcomes(looked_at, absorbing, threshold, len(dets))
            hits = np.bincount(dets.class_id[true], minlength=class_count)
            recall[:, t, m] = hits / np.maximum(ground_truth_count, 1)
            if limit == MAX_DETS[-1]:
                at_threshold = _curves(dets, ranking, true, neutral, ground_truth_count)
                precision[:, t] = [
                    _area_under(curve, count)
                    for curve, count in zip(at_threshold, ground_truth_count, strict=True)
                ]
                curves = curves or at_threshold
    image_count = np.bincount(np.unique(gt_boxes.group) % class_count, minlength=class_count)
    return OfficialScores(
        tuple(class_names), 100 * precision, 100 * recall, ground_truth_count, image_count, curves
    )


def without_ignored(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    sizes_wh: Mapping[str, tuple[int, int]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return ground truth and detections without ignored regions and without the boxes that they
    cover by half or more.

    Arguments and errors are those of `evaluate_official`; rows keep their order.
    """
    names = _checked_names(ground_truth, detections, sizes_wh)
    kept_gt, kept_detections = {}, {}
    rows = zip(
        names,
        box_rows(ground_truth, names, "the ground truth"),
        box_rows(detections, names, "the detections"),
        strict=True,
    )
    for name, gt, dets in rows:
        region = gt[:, 5] == IGNORED
        regions, gt = gt[region, :4], gt[~region]
        kept_gt[name] = gt[ignored_share(gt[:, :4], regions, sizes_wh[name]) < COVERED]
        kept_detections[name] = dets[ignored_share(dets[:, :4], regions, sizes_wh[name]) < COVERED]
    return kept_gt, kept_detections


def _checked_names(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    sizes_wh: Mapping[str, tuple[int, int]],
) -> list[str]:
    """Return the images' names in the protocol's order, after checking that the three mappings
    fit.
    """
    refuse_strays(ground_truth, detections)
    if unsized := sorted(set(ground_truth) - set(sizes_wh)):
        raise DataError(
            f"the size of image {unsized[0]!r} is not given{did_you_mean(unsized[0], sizes_wh)}"
        )
    for name in ground_truth:
        if min(sizes_wh[name]) < 1:
            raise DataError(
                f"the size of image {name!r} is {tuple(sizes_wh[name])}; expected width and height "
                f"of at least 1 pixel"
            )
    return sorted(ground_truth)


def _outcomes(
    pairs: Pairs, absorbing: np.ndarray, threshold: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of ``count`` detections whether it is a true positive, and whether an ignore
    box makes it neither.
    """
    pairs = pairs[pairs.overlap >= threshold]
    absorbed = absorbing[pairs.gt]
    true, neutral = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    real = pairs[~absorbed]
    true[real.detection[match_greedily(real.detection, real.gt)]] = True
    neutral[pairs.detection[absorbed]] = True
    return true, neutral & ~true


def _curves(
    dets: BoxTable,
    ranking: np.ndarray,
    true: np.ndarray,
    neutral: np.ndarray,
    ground_truth_count: np.ndarray,
) -> tuple[Curve, ...]:
    """Return each class's curve; ``ranking`` sorts by class, then falling score."""
    bounds = np.searchsorted(dets.class_id[ranking], np.arange(len(ground_truth_count) + 1))
    curves = []
    for k, count in enumerate(ground_truth_count):
        ranked = ranking[bounds[k] : bounds[k + 1]]
        hit = np.flatnonzero(true[ranked])
        hits = np.arange(1, len(hit) + 1)
        judged, score = ~neutral[ranked], dets.score[ranked]
        precision = hits / np.cumsum(judged)[hit]
        curves.append(Curve(hits / max(count, 1), precision, score[hit], score[judged]))
    return tuple(curves)


def _area_under(curve: Curve, ground_truth_count: int) -> float:
    """Return the area under the precision envelope. Precision only falls between two true
    positives, so only those matter.
    """
    envelope = np.maximum.accumulate(curve.precision[::-1])
    return float(envelope.sum() / max(ground_truth_count, 1))
