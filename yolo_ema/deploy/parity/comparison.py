"""How far the boxes of a file lie from those of its weights on one image, and which differences are
not the file's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_ema.deploy.parity.box_matching import Matching, match_boxes, overlaps

__all__ = ["ImageComparison", "Proposals", "Tolerance", "as_shares", "compare_image"]

_LEAST_SCORE = 0.01

_NEIGHBOUR_IOU = 0.4
"""What NMS may keep in a box's stead overlaps it at least this much: the thresholds in use lie
above.
"""

_ANOTHER_IOU, _ANOTHER_PX = 0.95, 1.0
"""Boxes of a pair that overlap less, or lie farther apart, are plainly two proposals of the
network, not one that drifted.
"""

_TRIED = 20
"""Where of so many boxes none is proposed, the others are not looked for."""


@dataclass(frozen=True)
class Tolerance:
    """How far a counterpart may lie.

    Attributes:
        px: largest difference of a box's side, pixels of the network's input.
        score: largest difference of a score, as a share of it.
    """

    px: float
    score: float

    def of_scores(self, scores: np.ndarray | float) -> Any:
        """Return the largest difference that each score may show."""
        return self.score * np.maximum(scores, _LEAST_SCORE)


def as_shares(differences: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return differences of scores as shares of them; below 0.01 of that, since rounding is no
    finer there.
    """
    return np.abs(differences) / np.maximum(scores, _LEAST_SCORE)


@dataclass(frozen=True)
class Proposals:
    """All that two networks propose for an image before NMS, boxes in the image's pixels.

    Each is (N, 4 + K): x1, y1, x2, y2, then K class scores.
    """

    reference: np.ndarray
    other: np.ndarray


@dataclass(frozen=True)
class ImageComparison:
    """What the comparison of one image found.

    Attributes:
        name: of the image.
        reference: (N, 6) the weights' boxes, by falling score: x1, y1, x2, y2, score, class id.
        other: (M, 6) the file's.
        matching: which is which.
        scale: pixels of the network's input for one pixel of the image.
        px: (P,) the largest difference of a side, for each pair, in pixels of the network's input.
        scores: (P,) the file's score less the weights', for each pair.
        shares: (P,) the same without its sign, as a share of the score.
        excused_pairs: (P,) which pairs are two proposals of which NMS kept one here and the other
            there.
        excused: how many boxes stand alone, or under another class, for such a reason.
        lost: indices of the weights' boxes that the file does not give.
        extra: indices of the file's boxes that the weights do not give.
        renamed: (Q, 2) indices of boxes that the file gives another class.
        exact: whether the excuses were seen in the proposals; otherwise they are likely, and their
            number is limited.
    """

    name: str
    reference: np.ndarray
    other: np.ndarray
    matching: Matching
    scale: float
    px: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    excused_pairs: np.ndarray
    excused: int
    lost: np.ndarray
    extra: np.ndarray
    renamed: np.ndarray
    exact: bool

    @property
    def boxes(self) -> int:
        """How many boxes have a counterpart that counts."""
        return int((~self.excused_pairs).sum())

    @property
    def ties(self) -> int:
        """How many boxes NMS chose differently among proposals that are alike."""
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
        """Largest difference of a score as a share of it."""
        return float(self.shares[~self.excused_pairs].max(initial=0.0))


def compare_image(
    name: str,
    reference: np.ndarray,
    other: np.ndarray,
    tolerance: Tolerance,
    *,
    scale: float = 1.0,
    lowest: float = 0.0,
    proposals: Callable[[], Proposals] | None = None,
) -> ImageComparison:
    """Compare the boxes that two runtimes keep for an image.

    Two proposals that overlap by just NMS's threshold, or score all but alike, may be kept here and
    dropped there although both networks propose the same. Such a box is excused: where
    ``proposals`` can be asked, if the other network proposes it within the tolerance; otherwise if
    another box of its class stands in its place.

    Args:
        name: of the image.
        reference: (N, 6) the weights' boxes.
        other: (M, 6) the file's.
        tolerance: beyond it a pair is looked at for an excuse.
        scale: pixels of the network's input for one pixel of the image.
        lowest: the lowest score that was asked for: a box that scores hardly more may stand alone.
        proposals: returns what both networks proposed; asked only where boxes differ.
    """
    matching = match_boxes(reference, other)
    first, second = reference[matching.pairs[:, 0]], other[matching.pairs[:, 1]]
    px = np.abs(first[:, :4].astype(np.float64) - second[:, :4]).max(axis=1, initial=0.0) * scale
    px[~np.isfinite(px)] = np.inf
    scores = second[:, 4].astype(np.float64) - first[:, 4]
    scores[~np.isfinite(scores)] = np.inf
    shares = as_shares(scores, first[:, 4])
    wrong = (px > tolerance.px) | (shares > tolerance.score)
    edge = lowest + tolerance.of_scores(lowest)
    lost = matching.lost[~(reference[matching.lost, 4] <= edge)]
    extra = matching.extra[~(other[matching.extra, 4] <= edge)]
    renamed = matching.renamed
    excused_pairs = np.zeros(len(px), bool)
    excused = len(matching.lost) - len(lost) + len(matching.extra) - len(extra)
    if wrong.any() or len(lost) or len(extra) or len(renamed):
        judge: _Judge = (
            _Seen(reference, other, proposals(), tolerance, scale)
            if proposals
            else _Likely(reference, other, tolerance, scale)
        )
        excused_pairs[wrong] = judge.pairs(matching.pairs[wrong])
        free_lost, free_extra, free_renamed = (
            judge.of_weights(lost),
            judge.of_file(extra),
            judge.renamed(renamed),
        )
        excused += int(free_lost.sum() + free_extra.sum() + free_renamed.sum())
        lost, extra, renamed = lost[~free_lost], extra[~free_extra], renamed[~free_renamed]
    return ImageComparison(
        name,
        reference,
        other,
        matching,
        scale,
        px,
        scores,
        shares,
        excused_pairs,
        excused,
        lost,
        extra,
        renamed,
        proposals is not None,
    )


class _Seen:
    """Excuses by what both networks proposed."""

    def __init__(
        self,
        reference: np.ndarray,
        other: np.ndarray,
        proposals: Proposals,
        tolerance: Tolerance,
        scale: float,
    ) -> None:
        self._reference, self._other, self._proposals = reference, other, proposals
        self._px, self._tolerance = tolerance.px / scale, tolerance

    def of_weights(self, indices: np.ndarray) -> np.ndarray:
        """Say which of the weights' boxes the file proposes, too."""
        return self._proposed(self._reference[indices], self._proposals.other)

    def of_file(self, indices: np.ndarray) -> np.ndarray:
        """Say which of the file's boxes the weights propose, too."""
        return self._proposed(self._other[indices], self._proposals.reference)

    def pairs(self, pairs: np.ndarray) -> np.ndarray:
        """Say of which pairs both boxes are proposed on the other side."""
        return self.of_weights(pairs[:, 0]) & self.of_file(pairs[:, 1])

    def renamed(self, pairs: np.ndarray) -> np.ndarray:
        """Likewise for a box under two classes: two classes that score all but alike."""
        return self.pairs(pairs)

    def _proposed(self, rows: np.ndarray, proposals: np.ndarray) -> np.ndarray:
        found = np.zeros(len(rows), dtype=bool)
        for number, row in enumerate(rows):
            found[number] = self._is_proposed(row, proposals)
            if number == _TRIED and not found.any():
                break
        return found

    def _is_proposed(self, row: np.ndarray, proposals: np.ndarray) -> bool:
        near = np.abs(proposals[:, :4] - row[:4]).max(axis=1, initial=0.0) <= self._px
        column = 4 + int(row[5])
        if column >= proposals.shape[1]:  # a class that the other side does not have
            return False
        return bool(
            (np.abs(proposals[near, column] - row[4]) <= self._tolerance.of_scores(row[4])).any()
        )


class _Likely:
    """Excuses by what was kept, where the proposals cannot be seen."""

    def __init__(
        self, reference: np.ndarray, other: np.ndarray, tolerance: Tolerance, scale: float
    ) -> None:
        self._reference, self._other, self._tolerance, self._scale = (
            reference,
            other,
            tolerance,
            scale,
        )

    def of_weights(self, indices: np.ndarray) -> np.ndarray:
        """Say which of the weights' boxes have a neighbour among the file's."""
        return _has_neighbour(self._reference[indices], self._other)

    def of_file(self, indices: np.ndarray) -> np.ndarray:
        """Say which of the file's boxes have a neighbour among the weights'."""
        return _has_neighbour(self._other[indices], self._reference)

    def pairs(self, pairs: np.ndarray) -> np.ndarray:
        """Say which pairs are plainly two proposals."""
        first, second = self._reference[pairs[:, 0]], self._other[pairs[:, 1]]
        px = np.abs(first[:, :4] - second[:, :4]).max(axis=1, initial=0.0) * self._scale
        return (np.diagonal(overlaps(first, second)) < _ANOTHER_IOU) | (px > _ANOTHER_PX)

    def renamed(self, pairs: np.ndarray) -> np.ndarray:
        """Say which boxes score alike under both classes."""
        scores = self._reference[pairs[:, 0], 4]
        return np.abs(scores - self._other[pairs[:, 1], 4]) <= self._tolerance.of_scores(scores)


_Judge = _Seen | _Likely


def _has_neighbour(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    alike = rows[:, None, 5] == others[None, :, 5]
    return (alike & (overlaps(rows, others) >= _NEIGHBOUR_IOU)).any(axis=1)
