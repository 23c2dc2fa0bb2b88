"""Confidence thresholds at which a detector's F1 is best, from the scores of its detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.metrics.visdrone_protocol import Curve


@dataclass(frozen=True)
class OperatingPoint:
    """Precision and recall at a threshold, at IoU 0.5.

    Attributes:
        confidence: the lowest score that counts, 0…1.
        precision: share of the detections that are right, percent.
        recall: share of the objects that are found, percent.
        f1: harmonic mean of the two, percent. Over several classes the mean of theirs.
    """

    confidence: float
    precision: float
    recall: float
    f1: float

    def as_json(self) -> dict[str, float]:
        """Return the figures as plain values."""
        return {
            "confidence": self.confidence,
            "precision": self.precision,
            "recall": self.recall,
            "F1": self.f1,
        }


def best_of_class(curve: Curve) -> OperatingPoint | None:
    """Return the threshold of a class's best F1, the higher of equal ones; None if nothing of the
    class was found.

    Precision only rises at true positives, so the best F1 is at one of them.
    """
    if not len(curve.score):
        return None
    precision, recall = _from(curve, curve.score)
    f1 = _f1(precision, recall)
    best = int(f1.argmax())
    return _point(curve.score[best], precision[best], recall[best], f1[best])


def best_for_all(curves: Sequence[Curve]) -> OperatingPoint | None:
    """Return the one threshold whose F1, averaged over the classes, is best, to two decimals; None
    if nothing was found at a score of 0.01 or more.

    Args:
        curves: those of the classes that occur.
    """
    thresholds = np.arange(1, 100) / 100
    if not any(len(curve.score) for curve in curves):
        return None
    precision, recall = np.array([_from(curve, thresholds) for curve in curves]).swapaxes(0, 1)
    f1 = _f1(precision, recall).mean(axis=0)
    best = len(f1) - 1 - int(f1[::-1].argmax())
    if f1[best] == 0:
        return None
    return _point(thresholds[best], precision[:, best].mean(), recall[:, best].mean(), f1[best])


def _from(curve: Curve, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall, (T,) each, of the detections from each threshold upwards; zero
    where there are none. A class's false alarms count also below its last true positive.
    """
    hits = np.searchsorted(-curve.score, -thresholds, side="right")
    judged = np.searchsorted(-curve.judged_score, -thresholds, side="right")
    return hits / np.maximum(judged, 1), np.r_[0.0, curve.recall][hits]


def _f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    return 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)


def _point(confidence: float, precision: float, recall: float, f1: float) -> OperatingPoint:
    return OperatingPoint(
        float(confidence), 100 * float(precision), 100 * float(recall), 100 * float(f1)
    )
