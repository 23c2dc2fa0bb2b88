"""How far a file's boxes lie from its weights', and which differences NMS and merging made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_ema.deploy.parity.box_matching import Matching, match_boxes, overlaps

_LEAST_SCORE = 0.01

_NEIGHBOUR_IOU = 0.4
"""A box that NMS keeps in another's place overlaps it at least so much."""

_ANOTHER_IOU, _ANOTHER_PX = 0.95, 1.0
"""Boxes that overlap less, or lie farther apart, are two proposals, not one that drifted."""


_FEW_TIES, _MANY_TIES_LIMIT = 0.1, 0.1
"""If more than this share of an image's boxes differ, its boxes show little of the network: then
proposals must agree within this part of the tolerance.
"""


@dataclass(frozen=True)
class Tolerance:
    """How far a counterpart may differ.

    Attributes:
        px: largest difference of a box's side, in pixels of the network's input.
        score: largest relative difference of a score.
    """

    px: float
    score: float

    def share(self, factor: float) -> Tolerance:
        """Return a part of it."""
        return Tolerance(self.px * factor, self.score * factor)

    def of_scores(self, scores: np.ndarray | float) -> Any:
        """Return the largest difference allowed for each score."""
        return self.score * np.maximum(scores, _LEAST_SCORE)


def as_shares(differences: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return differences relative to the scores; to 0.01 below that, since rounding does not get
    finer there.
    """
    return np.abs(differences) / np.maximum(scores, _LEAST_SCORE)


@dataclass(frozen=True)
class ImageComparison:
    """The comparison of one image.

    Attributes:
        name: of the image.
        reference: (N, 6) the weights' boxes, by falling score: x1, y1, x2, y2, score, class id.
        candidate: (M, 6) the file's.
        matching: which box is which.
        scale: pixels of the network's input per pixel of the image.
        px: (P,) for each pair the largest difference of a side, in pixels of the network's input.
        scores: (P,) for each pair the file's score less the weights'.
        shares: (P,) the same, absolute and relative to the score.
        excused_pairs: (P,) which pairs are beyond the tolerance because of a tie.
        excused: number of boxes that are alone, or have another class, for the same reason.
        missing: indices of the weights' boxes that the file does not give.
        spurious: indices of the file's boxes that the weights do not give.
        class_mismatch: (Q, 2) indices of boxes to which the file gives another class.
        exact: whether the ties are proven, see `replay`; else they are likely, and limited.
    """

    name: str
    reference: np.ndarray
    candidate: np.ndarray
    matching: Matching
    scale: float
    px: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    excused_pairs: np.ndarray
    excused: int
    missing: np.ndarray
    spurious: np.ndarray
    class_mismatch: np.ndarray
    exact: bool

    @property
    def boxes(self) -> int:
        """Number of boxes with a counterpart that counts."""
        return int((~self.excused_pairs).sum())

    @property
    def ties(self) -> int:
        """Number of boxes where NMS or merging decided differently between equal proposals."""
        return int(self.excused_pairs.sum()) + self.excused

    @property
    def box_px(self) -> float:
        """Largest difference of a side."""
        return float(self.px[~self.excused_pairs].max(initial=0.0))

    @property
    def score(self) -> float:
        """Largest difference of a score."""
        return float(np.abs(self.scores[~self.excused_pairs]).max(initial=0.0))

    @property
    def score_share(self) -> float:
        """Largest relative difference of a score."""
        return float(self.shares[~self.excused_pairs].max(initial=0.0))


def compare_image(
    name: str,
    reference: np.ndarray,
    candidate: np.ndarray,
    tolerance: Tolerance,
    *,
    scale: float = 1.0,
    lowest: float = 0.0,
    proven_tie: Callable[[Tolerance], bool] = lambda _: False,
    guess: bool = False,
) -> ImageComparison:
    """Compare the boxes that two runtimes keep for an image.

    Two proposals that overlap by just NMS's threshold, or have nearly the same score, may be kept
    here and dropped there although both networks propose the same; so may two boxes that tiles
    merge. Such a difference is a tie, and excused.

    Args:
        name: of the image.
        reference: (N, 6) the weights' boxes.
        candidate: (M, 6) the file's.
        tolerance: pairs beyond it need an excuse.
        scale: pixels of the network's input per pixel of the image.
        lowest: the lowest score that was asked for: a box that scores hardly more may be alone.
        proven_tie: says whether ties alone explain all that differs, with proposals that agree
            within a tolerance; called only if boxes differ.
        guess: where that is not proven, excuse a box if another one of its class is in its place.
    """
    matching = match_boxes(reference, candidate)
    first, second = reference[matching.pairs[:, 0]], candidate[matching.pairs[:, 1]]
    px, scores = _differences(first.astype(np.float64), second, scale)
    shares = as_shares(scores, first[:, 4])
    wrong = (px > tolerance.px) | (shares > tolerance.score)
    edge = lowest + tolerance.of_scores(lowest)
    missing = matching.missing[~(reference[matching.missing, 4] <= edge)]
    spurious = matching.spurious[~(candidate[matching.spurious, 4] <= edge)]
    excused = len(matching.missing) + len(matching.spurious) - len(missing) - len(spurious)
    class_mismatch, exact = matching.class_mismatch, True
    excused_pairs = np.zeros(len(px), bool)
    different = int(wrong.sum()) + len(missing) + len(spurious) + len(class_mismatch)
    if different:
        few = different <= _FEW_TIES * max(len(reference), len(candidate))
        if proven_tie(tolerance if few else tolerance.share(_MANY_TIES_LIMIT)):
            excused_pairs = wrong
            excused += len(missing) + len(spurious) + len(class_mismatch)
            missing, spurious, class_mismatch = missing[:0], spurious[:0], class_mismatch[:0]
        elif guess:
            exact, likely = False, _Likely(reference, candidate, tolerance, scale)
            excused_pairs[wrong] = likely.pairs(matching.pairs[wrong])
            of_missing, of_spurious = likely.missing(missing), likely.spurious(spurious)
            of_mismatch = likely.class_mismatch(class_mismatch)
            excused += int(of_missing.sum() + of_spurious.sum() + of_mismatch.sum())
            missing, spurious = missing[~of_missing], spurious[~of_spurious]
            class_mismatch = class_mismatch[~of_mismatch]
    return ImageComparison(
        name,
        reference,
        candidate,
        matching,
        scale,
        px,
        scores,
        shares,
        excused_pairs,
        excused,
        missing,
        spurious,
        class_mismatch,
        exact,
    )


def _differences(
    first: np.ndarray, second: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``px`` and ``scores`` of `ImageComparison`, infinite where it is not a number."""
    px = np.abs(first[:, :4] - second[:, :4]).max(axis=1, initial=0.0) * scale
    scores = second[:, 4] - first[:, 4]
    px[~np.isfinite(px)] = scores[~np.isfinite(scores)] = np.inf
    return px, scores


class _Likely:
    """Ties that are likely, judging by the boxes that were kept. Methods return a mask over their
    argument.
    """

    def __init__(
        self, reference: np.ndarray, candidate: np.ndarray, tolerance: Tolerance, scale: float
    ) -> None:
        self._reference, self._candidate = reference, candidate
        self._tolerance, self._scale = tolerance, scale

    def missing(self, indices: np.ndarray) -> np.ndarray:
        """Return which of these boxes of the weights have a neighbour among the file's."""
        return _has_neighbour(self._reference[indices], self._candidate)

    def spurious(self, indices: np.ndarray) -> np.ndarray:
        """Return which of these boxes of the file have a neighbour among the weights'."""
        return _has_neighbour(self._candidate[indices], self._reference)

    def pairs(self, pairs: np.ndarray) -> np.ndarray:
        """Return which pairs are plainly two proposals."""
        first, second = self._reference[pairs[:, 0]], self._candidate[pairs[:, 1]]
        px = np.abs(first[:, :4] - second[:, :4]).max(axis=1, initial=0.0) * self._scale
        return (np.diagonal(overlaps(first, second)) < _ANOTHER_IOU) | (px > _ANOTHER_PX)

    def class_mismatch(self, pairs: np.ndarray) -> np.ndarray:
        """Return which boxes have the same score under both classes."""
        scores = self._reference[pairs[:, 0], 4]
        difference = np.abs(scores - self._candidate[pairs[:, 1], 4])
        return difference <= self._tolerance.of_scores(scores)


def _has_neighbour(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    same_class = rows[:, None, 5] == others[None, :, 5]
    return (same_class & (overlaps(rows, others) >= _NEIGHBOUR_IOU)).any(axis=1)
