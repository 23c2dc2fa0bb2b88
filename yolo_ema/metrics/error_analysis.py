"""Where a detector loses accuracy: confusion matrix, kinds of error, and the images with the most
missed objects and false alarms.

The kinds of error and the AP that each costs follow TIDE (Bolya et al., ECCV 2020): every false
positive gets one kind, and the cost of a kind is what AP50 gains if an oracle fixes just that kind.
Errors are counted as the official protocol counts: boxes inside ignored regions are dropped first,
and ignore boxes make a detection neither right nor wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.metrics.greedy_matching import BoxTable, Pairs, match_greedily, overlapping_pairs
from yolo_ema.metrics.visdrone_protocol import MAX_DETS, without_ignored

MATCH_IOU = 0.5
TOUCH_IOU = 0.1

ERROR_KINDS = {
    "class": "right place, wrong class (IoU ≥ 0.5 with an object of another class)",
    "location": "right class, poor box (IoU 0.1 to 0.5)",
    "class and location": "wrong class and poor box (IoU 0.1 to 0.5)",
    "duplicate": "a second box on an object that is already found",
    "background": "nothing there (IoU below 0.1 with every object)",
    "missed": "an object that no detection comes near",
}
_CLASS, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)


@dataclass(frozen=True)
class ErrorKind:
    """One of `ERROR_KINDS`.

    Attributes:
        name: its key.
        count: how many at scores of at least the confidence threshold.
        ap50_lost: percentage points of AP50 (plain mean over classes) that fixing all of them, at
            every score, would gain.
    """

    name: str
    count: int
    ap50_lost: float


@dataclass(frozen=True)
class ImageErrors:
    """What went right and wrong in one image at the confidence threshold; rows are left, top,
    width, height, score, category.
    """

    name: str
    found: np.ndarray
    false_alarms: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True)
class Diagnosis:
    """Where a detector loses accuracy.

    Attributes:
        class_names: (K) names.
        confidence: the score from which detections count, but for ``ap50_lost``.
        confusion: (K + 1, K + 1) counts: rows are true classes, columns detected ones, the last of
            both is "nothing".
        errors: one entry for each of `ERROR_KINDS`.
        images: one entry per image, the most missed objects and false alarms first.
    """

    class_names: tuple[str, ...]
    confidence: float
    confusion: np.ndarray
    errors: tuple[ErrorKind, ...]
    images: tuple[ImageErrors, ...]


@dataclass(frozen=True)
class _Judged:
    """Detections by falling score over all images, and what became of each at IoU 0.5."""

    dets: BoxTable
    gt_boxes: BoxTable  # without ignore boxes
    true: np.ndarray  # (N,) bool
    neutral: np.ndarray  # (N,) bool
    gt_of: np.ndarray  # (N,) the ground-truth box of a true positive, else -1
    class_count: int


def diagnose(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    sizes_wh: Mapping[str, tuple[int, int]],
    *,
    class_names: Sequence[str] = VISDRONE_CLASSES,
    confidence: float = 0.25,
) -> Diagnosis:
    """Sort every error into its kind. Arguments and errors are those of `evaluate_official`."""
    names = sorted(ground_truth)
    kept_gt, kept_dets = without_ignored(ground_truth, detections, sizes_wh)
    judged = _judge(
        [kept_gt[name] for name in names],
        [kept_dets[name][: MAX_DETS[-1]] for name in names],
        len(class_names),
    )
    dets, gt_boxes = (
        dataclasses.replace(table, group=table.image_id) for table in (judged.dets, judged.gt_boxes)
    )
    pairs = overlapping_pairs(dets, gt_boxes, TOUCH_IOU)  # across classes
    return Diagnosis(
        tuple(class_names),
        confidence,
        _confusion(judged, pairs, confidence),
        _errors(judged, pairs, confidence),
        _by_image(judged, names, confidence),
    )


def _judge(
    gt_rows: Sequence[np.ndarray], det_rows: Sequence[np.ndarray], class_count: int
) -> _Judged:
    gt_boxes = BoxTable.of_images(gt_rows, class_count, by_score=False)
    dets = BoxTable.of_images(det_rows, class_count, by_score=True)
    dets = dets[np.argsort(-dets.score, kind="stable")]  # keeps the order within image and class
    ignore = gt_boxes.score == 0
    absorbing, gt_boxes = gt_boxes[ignore], gt_boxes[~ignore]
    near = overlapping_pairs(dets, absorbing, MATCH_IOU, np.ones(len(absorbing), dtype=bool))
    pairs = overlapping_pairs(dets, gt_boxes, MATCH_IOU).by_preference(
        np.zeros(len(gt_boxes), dtype=bool)
    )
    matched = pairs[match_greedily(pairs.detection, pairs.gt)]
    gt_of = np.full(len(dets), -1)
    gt_of[matched.detection] = matched.gt
    neutral = np.zeros(len(dets), dtype=bool)
    neutral[near.detection] = True
    return _Judged(dets, gt_boxes, gt_of >= 0, neutral & (gt_of < 0), gt_of, class_count)


def _confusion(judged: _Judged, pairs: Pairs, confidence: float) -> np.ndarray:
    """Match across classes: each detection to an object of its own class if one is free, else to
    the best of another.
    """
    dets, gt_boxes, nothing = judged.dets, judged.gt_boxes, judged.class_count
    sure = pairs[
        (pairs.overlap >= MATCH_IOU)
        & (dets.score[pairs.detection] >= confidence)
        & ~judged.neutral[pairs.detection]
    ]
    other_class = dets.class_id[sure.detection] != gt_boxes.class_id[sure.gt]
    sure = sure[np.lexsort((-sure.gt, -sure.overlap, other_class, sure.detection))]
    matched = sure[match_greedily(sure.detection, sure.gt)]
    alone = (dets.score >= confidence) & ~judged.neutral
    alone[matched.detection] = False
    missed = np.ones(len(gt_boxes), dtype=bool)
    missed[matched.gt] = False
    confusion = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    np.add.at(confusion, (gt_boxes.class_id[matched.gt], dets.class_id[matched.detection]), 1)
    np.add.at(confusion[nothing], dets.class_id[alone], 1)
    np.add.at(confusion[:, nothing], gt_boxes.class_id[missed], 1)
    return confusion


def _errors(judged: _Judged, pairs: Pairs, confidence: float) -> tuple[ErrorKind, ...]:
    dets, gt_boxes = judged.dets, judged.gt_boxes
    kind, culprit = _kinds(judged, pairs)
    held = np.zeros(len(gt_boxes), dtype=bool)
    held[judged.gt_of[judged.true]] = True
    covered = held.copy()
    covered[culprit[(kind == _CLASS) | (kind == _LOCATION)]] = True
    base = _mean_ap(
        dets.class_id,
        judged.true,
        ~judged.neutral,
        np.bincount(gt_boxes.class_id, minlength=judged.class_count),
    )
    errors = []
    for number, name in enumerate(list(ERROR_KINDS)[:-1]):
        of_kind = kind == number
        count = int((of_kind & (dets.score >= confidence)).sum())
        errors.append(ErrorKind(name, count, _ap50_if_fixed(judged, of_kind, culprit, held) - base))
    reached = np.zeros(len(gt_boxes), dtype=bool)
    sure = dets.score >= confidence
    reached[judged.gt_of[judged.true & sure]] = True
    reached[culprit[sure & ((kind == _CLASS) | (kind == _LOCATION))]] = True
    left = np.bincount(gt_boxes.class_id[covered], minlength=judged.class_count)
    without_missed = _mean_ap(dets.class_id, judged.true, ~judged.neutral, left)
    return (*errors, ErrorKind("missed", int((~reached).sum()), without_missed - base))


def _kinds(judged: _Judged, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return each false positive's kind, else -1, and the ground-truth box that a class or location
    error belongs to, else -1.
    """
    dets, gt_boxes = judged.dets, judged.gt_boxes
    same = dets.class_id[pairs.detection] == gt_boxes.class_id[pairs.gt]
    best, best_gt = {}, {}
    for own_class in (True, False):
        chosen = pairs[same == own_class]
        order = np.argsort(chosen.overlap, kind="stable")  # the best is written last
        best[own_class], best_gt[own_class] = np.zeros(len(dets)), np.full(len(dets), -1)
        best[own_class][chosen.detection[order]] = chosen.overlap[order]
        best_gt[own_class][chosen.detection[order]] = chosen.gt[order]
    kind = np.select(
        [
            best[True] >= MATCH_IOU,
            best[False] >= MATCH_IOU,
            best[True] >= TOUCH_IOU,
            best[False] >= TOUCH_IOU,
        ],
        [_DUPLICATE, _CLASS, _LOCATION, _BOTH],
        default=_BACKGROUND,
    )
    kind[judged.true | judged.neutral] = -1
    culprit = np.select(
        [kind == _CLASS, kind == _LOCATION], [best_gt[False], best_gt[True]], default=-1
    )
    return kind, culprit


def _ap50_if_fixed(
    judged: _Judged, of_kind: np.ndarray, culprit: np.ndarray, held: np.ndarray
) -> float:
    """Return AP50 if an oracle fixes the chosen detections: the most confident one on each free
    object becomes right, the rest vanish.
    """
    dets, gt_boxes = judged.dets, judged.gt_boxes
    class_id, true, counts = dets.class_id.copy(), judged.true.copy(), ~judged.neutral & ~of_kind
    fixable = np.flatnonzero(of_kind & (culprit >= 0))
    fixable = fixable[~held[culprit[fixable]]]
    _, surest = np.unique(culprit[fixable], return_index=True)  # detections are sorted by score
    right = fixable[surest]
    true[right] = counts[right] = True
    class_id[right] = gt_boxes.class_id[culprit[right]]
    return _mean_ap(
        class_id, true, counts, np.bincount(gt_boxes.class_id, minlength=judged.class_count)
    )


def _mean_ap(
    class_id: np.ndarray, true: np.ndarray, counts: np.ndarray, ground_truth_count: np.ndarray
) -> float:
    """Return the plain mean of AP50 in percent over classes with objects; detections are sorted by
    falling score.
    """
    areas = []
    for k in np.flatnonzero(ground_truth_count):
        hit = np.flatnonzero(true[counts & (class_id == k)])
        precision = np.arange(1, len(hit) + 1) / (hit + 1)
        areas.append(np.maximum.accumulate(precision[::-1]).sum() / ground_truth_count[k])
    return 100 * float(np.mean(areas)) if areas else 0.0


def _by_image(judged: _Judged, names: Sequence[str], confidence: float) -> tuple[ImageErrors, ...]:
    dets, gt_boxes = judged.dets, judged.gt_boxes
    sure = dets.score >= confidence
    missed = np.ones(len(gt_boxes), dtype=bool)
    missed[judged.gt_of[judged.true & sure]] = False
    false = sure & ~judged.true & ~judged.neutral
    images = [
        ImageErrors(
            name,
            _rows(dets[judged.true & sure & (dets.image_id == n)]),
            _rows(dets[false & (dets.image_id == n)]),
            _rows(gt_boxes[missed & (gt_boxes.image_id == n)]),
        )
        for n, name in enumerate(names)
    ]
    return tuple(
        sorted(images, key=lambda image: (-len(image.missed) - len(image.false_alarms), image.name))
    )


def _rows(boxes: BoxTable) -> np.ndarray:
    return np.column_stack([boxes.ltwh, boxes.score, boxes.class_id + 1])
