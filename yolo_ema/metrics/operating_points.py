"""Confidence thresholds at which a detector's F1 is best, from its precision-recall curves."""

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
    f1 = _f1(curve.precision, curve.recall)
    best = int(f1.argmax())
    return _point(curve.score[best], curve.precision[best], curve.recall[best], f1[best])


def best_for_all(curves: Sequence[Curve]) -> OperatingPoint | None:
    """Return the one threshold whose F1, averaged over the classes, is best, to two decimals; None
    if nothing was found at a score of 0.01 or more.

    Args:
        curves: those of the classes that occur. A class's precision at a threshold is that at its
            weakest true positive above it.
    """
    thresholds = np.arange(1, 100) / 100
    if not any(len(curve.score) for curve in curves):
        return None
    precision, recall = np.zeros((2, len(curves), len(thresholds)))
    for k, curve in enumerate(curves):
        # true positives of at least the threshold
        counted = np.searchsorted(-curve.score, -thresholds, side="right")
        nonempty = counted > 0
        precision[k, nonempty] = curve.precision[counted[nonempty] - 1]
        recall[k, nonempty] = curve.recall[counted[nonempty] - 1]
    f1 = _f1(precision, recall).mean(axis=0)
    best = len(f1) - 1 - int(f1[::-1].argmax())
    if f1[best] == 0:
        return None
    return _point(thresholds[best], precision[:, best].mean(), recall[:, best].mean(), f1[best])


def _f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    return 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)


def _point(confidence: float, precision: float, recall: float, f1: float) -> OperatingPoint:
    return OperatingPoint(
        float(confidence), 100 * float(precision), 100 * float(recall), 100 * float(f1)
    )
