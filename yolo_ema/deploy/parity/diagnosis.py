"""Which fault a file has whose boxes are not those of its weights: hypotheses, each tried out or
seen in the boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from yolo_ema.deploy.parity.box_matching import match_boxes
from yolo_ema.deploy.parity.comparison import ImageComparison, as_shares
from yolo_ema.deploy.parity.model_pair import Sides, with_adjusted_input
from yolo_ema.deploy.parity.test_images import GateImage
from yolo_ema.errors import YoloEmaError

__all__ = ["diagnose"]

_TRIED_IMAGES = 2
_MOST_CHANGED = 0.02
"""A changed input is the explanation where this share of the boxes, or less, still lies beyond the
tolerance.
"""

_ONE_SIDED = 0.9
_FEW = 3
_DRIFTING = 0.5
_STRIDES = (4, 8, 16, 32, 64, 128)


def _swapped(batch: Any) -> Any:
    return batch.flip(1)


_INPUTS: tuple[tuple[Callable[[Any], Any], str], ...] = (
    (
        _swapped,
        (
            "the file expects BGR: with red and blue swapped in its input it gives the weights' "
            "boxes, "
            "which take RGB"
        ),
    ),
    (
        lambda batch: batch * 255,
        (
            "the file expects pixels of 0…255: it gives the weights' boxes where its input is not "
            "divided by 255"
        ),
    ),
    (
        lambda batch: batch / 255,
        (
            "the file scales its input wrongly: it gives the weights' boxes where pixels of 0…1 "
            "are "
            "divided by 255 once more"
        ),
    ),
    (
        lambda batch: _swapped(batch) * 255,
        (
            "the file expects BGR of 0…255: it gives the weights' boxes where red and blue are "
            "swapped "
            "and nothing is divided by 255"
        ),
    ),
)


def diagnose(
    sides: Sides, compared: Sequence[ImageComparison], images: Sequence[GateImage]
) -> list[str]:
    """Return sentences that name the fault; empty where none of the known ones fits.

    Args:
        sides: weights and file.
        compared: what the plain case found.
        images: its images.
    """
    if input_fault := _input_fault(sides, compared, images):
        return [input_fault]
    found = [*_blind(compared), *_dropped(sides, compared, images)]
    return (
        found
        or [*_permuted(sides, images), *_renamed(compared, sides.reference.names)][:1]
        or [*_misplaced(sides, images)]
        or [*_drifting(sides, compared, images)]
    )


def _input_fault(
    sides: Sides, compared: Sequence[ImageComparison], images: Sequence[GateImage]
) -> str | None:
    """Return which change of the input makes the file agree."""
    tried = min(len(images), _TRIED_IMAGES)
    for adjust, sentence in _INPUTS:
        try:
            changed = with_adjusted_input(sides, adjust)
            lowest = min(
                (float(one.reference[:, 4].min(initial=1.0)) for one in compared[:tried]),
                default=0.0,
            )
            rows = changed.other_rows(images[:tried], lowest, sides.setup.batch)
        except (
            YoloEmaError
        ):  # such a file cannot be run with another input: nothing is learned about this fault
            return None
        if _agrees(sides, compared[:tried], rows):
            return sentence
    return None


def _agrees(sides: Sides, compared: Sequence[ImageComparison], rows: Sequence[np.ndarray]) -> bool:
    """Say whether these boxes are the weights', but for a few."""
    boxes, wrong = 0, 0
    for one, found in zip(compared, rows, strict=True):
        matching = match_boxes(one.reference, found)
        first, second = one.reference[matching.pairs[:, 0]], found[matching.pairs[:, 1]]
        px = np.abs(first[:, :4] - second[:, :4]).max(axis=1, initial=0.0) * one.scale
        shares = as_shares(second[:, 4] - first[:, 4], first[:, 4])
        # Multiplied by 255 and divided again, pixels are rounded.
        far = (px > 2 * sides.setup.tolerance.px) | (shares > 2 * sides.setup.tolerance.score)
        boxes += len(one.reference)
        wrong += int(far.sum()) + len(one.reference) - len(matching.pairs)
    return boxes > 0 and wrong <= _MOST_CHANGED * boxes


def _permuted(sides: Sides, images: Sequence[GateImage]) -> Iterator[str]:
    """Say that the file's class scores stand in another order, as its proposals show it."""
    found = _candidates(sides, images[0])
    if found is None:
        return
    ours, theirs = (rows[:, 4:] for rows in found)
    tolerance, names = sides.setup.tolerance, sides.reference.names
    order = [
        next(
            (
                j
                for j in range(theirs.shape[1])
                if as_shares(theirs[:, j] - column, column).max() <= tolerance.score
            ),
            None,
        )
        for column in ours.T
    ]
    if None in order or order == sorted(order, key=lambda j: j or 0):
        return
    moved = [
        f"{names.get(i)} where the weights give {names.get(j or 0)}"
        for j, i in enumerate(order)
        if i is not None and i != j
    ]
    yield f"the file gives its class scores in another order: {'; '.join(moved[:4])}"


def _renamed(compared: Sequence[ImageComparison], names: Mapping[int, str]) -> Iterator[str]:
    """Say which classes stand in each other's place."""
    seen: Counter[tuple[int, int]] = Counter()
    of_class: Counter[int] = Counter()
    for one in compared:
        of_class.update(one.reference[:, 5].astype(int).tolist())
        for ours, theirs in one.renamed:
            seen[int(one.reference[ours, 5]), int(one.other[theirs, 5])] += 1
    for (ours, theirs), count in sorted(seen.items()):
        if count >= _FEW and count >= _DRIFTING * of_class[ours]:
            yield (
                f"the file gives class {theirs} ({names.get(theirs)}) where the weights give "
                f"{ours} ({names.get(ours)}): "
                f"{count} of {of_class[ours]} boxes of that class"
            )


def _blind(compared: Sequence[ImageComparison]) -> Iterator[str]:
    """Say that a file answers all images alike."""
    shown = [one for one in compared if len(one.reference)]
    if len(shown) < _FEW or not any(len(one.lost) for one in shown):
        return
    scores = [one.other[:, 4] for one in shown]
    if all(
        len(one) == len(scores[0]) and np.allclose(one, scores[0], rtol=1e-4) for one in scores
    ) and len(scores[0]):
        yield (
            "the file gives the same scores for every image, and the weights do not: it ignores "
            "its input"
        )
    if not any(len(one) for one in scores):
        yield "the file gives no box on any image"


def _dropped(
    sides: Sides, compared: Sequence[ImageComparison], images: Sequence[GateImage]
) -> Iterator[str]:
    """Say which boxes a file leaves out, where it gives hardly any of its own."""
    lost, extra = (sum(len(getattr(one, name)) for one in compared) for name in ("lost", "extra"))
    if lost < _FEW or lost < _ONE_SIDED * (lost + extra):
        return
    total = sum(len(one.reference) for one in compared)
    what = (
        f"the file drops detections: {lost} of the weights' {total} boxes are missing, and it "
        f"gives {extra} of its own"
    )
    fullest = max(len(one.other) for one in compared)
    full = [one for one in compared if len(one.other) == fullest]
    if (
        fullest < sides.setup.most
        and all(len(one.other) == fullest for one in compared if len(one.lost))
        and len(full) > 1
    ):
        most = max(len(one.reference) for one in compared)
        yield f"{what}; it keeps at most {fullest} boxes an image, and the weights up to {most}"
        return
    yield what + _missing_proposals(sides, images) + _what_is_lost(compared)


def _missing_proposals(sides: Sides, images: Sequence[GateImage]) -> str:
    if sides.reference.chooses or sides.other.chooses:
        return ""
    both = sides.proposals(images[0].bgr())
    ours, theirs = len(both.reference), len(both.other)
    return (
        f"; its network proposes {theirs} boxes an image before NMS, the weights' {ours}"
        if ours != theirs
        else ""
    )


def _what_is_lost(compared: Sequence[ImageComparison]) -> str:
    """Return how large and how sure the lost boxes are."""
    lost = np.concatenate([one.reference[one.lost] for one in compared])
    sizes = np.concatenate([_sizes(one.reference[one.lost]) * one.scale for one in compared])
    scores = f"score {lost[:, 4].min():.2g} to {lost[:, 4].max():.2g}"
    return (
        f"; the missing ones are {sizes.min():.0f} to {sizes.max():.0f} px large at the input, "
        f"{scores}"
    )


def _sizes(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.clip(rows[:, 2:4] - rows[:, :2], 0, None).prod(axis=1))


def _misplaced(sides: Sides, images: Sequence[GateImage]) -> Iterator[str]:
    """Say that scores agree and boxes lie elsewhere by a rule: another letterbox, or other
    units.
    """
    found = _candidates(sides, images[0])
    if found is None:
        return
    ours, theirs = found
    if as_shares(theirs[:, 4:] - ours[:, 4:], ours[:, 4:]).max() > sides.setup.tolerance.score:
        return
    factors, shifts = [], []
    for axis in range(2):
        factor, shift = np.polyfit(ours[:, axis], theirs[:, axis], 1)
        if (
            np.abs(factor * ours[:, axis] + shift - theirs[:, axis]).max()
            > 1.0 + 0.001 * abs(ours[:, axis]).max()
        ):
            return
        factors.append(float(factor))
        shifts.append(round(float(shift), 1) + 0.0)  # no -0
    if max(abs(factor - 1) for factor in factors) < 0.002 and max(map(abs, shifts)) < 0.2:
        return
    yield (
        "the file's scores agree, and its boxes lie elsewhere by a rule: centers are the weights' "
        "times "
        f"{factors[0]:.4g}, {factors[1]:.4g} (x, y) plus {shifts[0]:.1f}, {shifts[1]:.1f} px of "
        f"the input, as after another "
        "letterbox or in other units"
    )


def _drifting(
    sides: Sides, compared: Sequence[ImageComparison], images: Sequence[GateImage]
) -> Iterator[str]:
    """Say that most boxes differ a little: some layer computes something else."""
    px = np.concatenate([one.px for one in compared])
    scores, shares = (
        np.concatenate([getattr(one, name) for one in compared]) for name in ("scores", "shares")
    )
    moved, changed = px > sides.setup.tolerance.px, shares > sides.setup.tolerance.score
    if not len(px) or not (moved | changed).any():
        return
    what = (
        "boxes and scores"
        if moved.any() and changed.any()
        else ("boxes" if moved.any() else "scores")
    )
    lower = float((scores[changed] < 0).mean()) if changed.any() else 0.5
    side = (
        f", {100 * max(lower, 1 - lower):.0f} % of the changed scores "
        f"{'lower' if lower > 0.5 else 'higher'}"
        if changed.any()
        else ""
    )
    yield (
        f"{what} drift: {100 * (moved | changed).mean():.0f} % of the matched boxes differ beyond "
        f"the tolerance, in the median by "
        f"{np.median(px):.2g} px and {100 * np.median(shares):.2g} % of the score{side}; no change "
        f"of the input mends it: a layer "
        f"computes something else, as where a convolution is scaled or "
        f"rounded{_where(sides, images)}"
    )


def _where(sides: Sides, images: Sequence[GateImage]) -> str:
    """Return at which levels of the network's grid proposals differ."""
    found = _candidates(sides, images[0])
    counts = _levels(sides)
    if found is None or sum(counts.values()) != len(found[0]):
        return ""
    ours, theirs = found
    apart = (np.abs(theirs[:, :4] - ours[:, :4]).max(axis=1) > sides.setup.tolerance.px) | (
        as_shares(theirs[:, 4:] - ours[:, 4:], ours[:, 4:]).max(axis=1)
        > sides.setup.tolerance.score
    )
    parts = np.split(apart, np.cumsum(list(counts.values()))[:-1])
    touched = [str(stride) for stride, part in zip(counts, parts, strict=True) if part.any()]
    everywhere = len(touched) == len(counts)
    return (
        f" (at {'all strides' if everywhere else 'stride ' + ', '.join(touched) + ' alone'})"
        if touched
        else ""
    )


def _levels(sides: Sides) -> dict[int, int]:
    """Return how many proposals each stride has; empty where they cannot be told."""
    height, width = sides.imgsz_hw
    strides = [stride for stride in _STRIDES if stride <= sides.reference.stride]
    count = len(sides.proposals(np.full((height, width, 3), 114, np.uint8)).reference)
    for first in range(len(strides)):
        counts = {stride: (height // stride) * (width // stride) for stride in strides[first:]}
        if sum(counts.values()) == count:
            return counts
    return {}


def _candidates(sides: Sides, image: GateImage) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what both propose in the order of the grid; None where that cannot be compared."""
    shown = image.bgr()
    ours, theirs = sides.reference.candidates(shown), sides.other.candidates(shown)
    if (
        ours is None
        or theirs is None
        or ours.shape != theirs.shape
        or not np.isfinite(theirs).all()
    ):
        return None
    return ours, theirs
