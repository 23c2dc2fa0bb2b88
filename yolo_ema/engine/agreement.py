"""How far the boxes of two runtimes lie apart on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from yolo_ema.engine.runtime import Runtime

__all__ = ["Agreement", "compare_boxes", "compare_candidates", "compare_runtimes"]

_SCORE_PX = 100.0
"""Of several boxes at the same place the counterpart is that of the closest score: 0.01 weighs as much as a pixel."""

_BEST = 300
"""The best boxes of an image are compared however low they score: weights that were hardly trained are checked, too."""

_GREY = 114
"""Value of the image that shows nothing; that of letterboxing's border."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
        images: how many images were compared.
        boxes: how many boxes have a counterpart in the other runtime.
        missing: how many have none, on either side; those that a small change of the score would put below the threshold aside.
        box_px: largest difference of a counterpart's coordinate, in pixels of the network's input.
        score: largest difference of a counterpart's score, 0…1.
        tells: whether the two are closer than the images' answers are to the answer to an empty one. Where they are not, a file
            that ignores its input would pass as well, and nothing was shown.
    """

    images: int
    boxes: int
    missing: int
    box_px: float
    score: float
    tells: bool = True

    def as_json(self) -> dict[str, float | bool]:
        """Return the figures as plain values."""
        return {
            "images": self.images,
            "boxes": self.boxes,
            "boxes_without_counterpart": self.missing,
            "largest_box_difference_px": self.box_px,
            "largest_score_difference": self.score,
            "weights_react_to_images": self.tells,
        }


def compare_runtimes(
    reference: Runtime, other: Runtime, images_bgr: Sequence[np.ndarray], *, tolerance_px: float, tolerance_score: float
) -> Agreement:
    """Compare two runtimes of the same fixed input size, one image at a time, and on an empty image of each shape.

    Where neither chooses among its boxes, these are compared before NMS, one by one: NMS turns a difference in the last digit
    into a whole box where two overlap by just the threshold. Otherwise the chosen boxes are matched.

    Args:
        reference: what is right.
        other: what is checked.
        images_bgr: arrays (H, W, 3) uint8.
        tolerance_px: a chosen box has a counterpart where one lies this close, in pixels of the input.
        tolerance_score: a chosen box this close to the lowest score may be missing.
    """
    raw = not reference.chooses and not other.chooses
    found: list[Agreement] = []
    nothing_shown: list[Agreement] = []
    empty: dict[tuple[int, ...], np.ndarray] = {}
    for image in images_bgr:
        # Boxes are in the image's pixels; the network's input shows it at this scale.
        scale = min(side / own for side, own in zip(reference.imgsz_hw, image.shape[:2], strict=True))
        compare = partial(
            _compare, raw=raw, conf=reference.conf, reach_px=tolerance_px, tolerance_score=tolerance_score, scale=scale
        )
        if image.shape not in empty:
            grey = np.full_like(image, _GREY)
            empty[image.shape] = _answer(reference, grey, raw=raw)
            found.append(compare(empty[image.shape], _answer(other, grey, raw=raw)))
        wanted = _answer(reference, image, raw=raw)
        found.append(compare(wanted, _answer(other, image, raw=raw)))
        nothing_shown.append(compare(wanted, empty[image.shape]))
    together, apart = _together(found), _together(nothing_shown)
    # By the triangle inequality, a file that answers all images alike is at least half as far from one of the two answers.
    tells = (
        together.box_px < apart.box_px / 2 or together.score < apart.score / 2 or together.missing < apart.missing / 2
    ) and together.boxes > 0
    return replace(together, images=len(images_bgr), tells=tells)


def _answer(runtime: Runtime, image: np.ndarray, *, raw: bool) -> np.ndarray:
    candidates = runtime.candidates(image) if raw else None
    return runtime([image])[0] if candidates is None else candidates


def _compare(
    reference: np.ndarray, other: np.ndarray, *, raw: bool, conf: float, reach_px: float, tolerance_score: float, scale: float
) -> Agreement:
    if raw:
        return compare_candidates(reference, other, lowest_score=conf)
    # NMS in the file leaves out what scores less; a head without NMS keeps the best, however low.
    threshold = conf + tolerance_score if conf else float(reference[:_BEST, 4].min(initial=1.0))
    return compare_boxes(reference, other, reach_px=reach_px, threshold=threshold, scale=scale)


def _together(found: Sequence[Agreement]) -> Agreement:
    return Agreement(
        len(found),
        sum(one.boxes for one in found),
        sum(one.missing for one in found),
        max((one.box_px for one in found), default=0.0),
        max((one.score for one in found), default=0.0),
    )


def compare_candidates(reference: np.ndarray, other: np.ndarray, *, lowest_score: float) -> Agreement:
    """Compare what two networks propose for one image before NMS: the 300 best of either, and all of at least the lowest score.

    Args:
        reference: (N, 4 + K) box and class scores.
        other: likewise, in the same order.
        lowest_score: further boxes that neither scores as high as this count for their scores only.
    """
    if reference.shape != other.shape:
        return Agreement(1, 0, len(reference) + len(other), 0.0, 0.0)
    best = np.maximum(reference[:, 4:].max(axis=1), other[:, 4:].max(axis=1))
    strong = best >= min(lowest_score, np.sort(best)[-_BEST:][0])
    differences = np.abs(reference - other)
    # NaN is no agreement: it counts as an endless difference.
    differences[~np.isfinite(differences)] = np.inf
    box_px = float(differences[strong, :4].max(initial=0.0))
    return Agreement(1, int(strong.sum()), 0, box_px, float(differences[:, 4:].max(initial=0.0)))


def compare_boxes(
    reference: np.ndarray, other: np.ndarray, *, reach_px: float, threshold: float = 0.0, scale: float = 1.0
) -> Agreement:
    """Compare the boxes of one image: each of the reference with the closest one of its class that is still free.

    Args:
        reference: (N, 6) x1, y1, x2, y2, score, class id.
        other: (M, 6) likewise.
        reach_px: the farthest that a counterpart may lie, in pixels of the result. Farther is another box: where two overlap by
            just NMS's threshold, either may be kept.
        threshold: boxes of lower score may be missing.
        scale: pixels of the result for one pixel of the boxes.
    """
    free = np.ones(len(other), dtype=bool)
    boxes, missing, box_px, score = 0, 0, 0.0, 0.0
    for row in reference:
        # By distance, not by overlap: a head may give a box of no or negative size, which overlaps not even itself.
        distances = np.where(free & (other[:, 5] == row[5]), np.abs(row[:4] - other[:, :4]).max(axis=1, initial=0.0), np.inf)
        # Several boxes may lie at nearly the same place; the closest score tells them apart.
        best = int((distances + _SCORE_PX * np.abs(row[4] - other[:, 4])).argmin()) if len(other) else -1
        if best < 0 or not distances[best] * scale <= reach_px:
            missing += bool(row[4] >= threshold)
            continue
        free[best] = False
        boxes += 1
        box_px = max(box_px, float(distances[best]) * scale)
        score = max(score, float(abs(row[4] - other[best, 4])))
    missing += int((other[free, 4] >= threshold).sum())
    return Agreement(1, boxes, missing, box_px, score)
