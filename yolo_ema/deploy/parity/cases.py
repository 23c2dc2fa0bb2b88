"""The cases of the gate: one image a pass and several, another size, a crowded image, tiles, and
every proposal before NMS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.deploy.parity.comparison import ImageComparison, as_shares
from yolo_ema.deploy.parity.model_pair import LADDER, Sides, open_sides
from yolo_ema.deploy.parity.parity_report import LEAST_BOXES, LEAST_CROWD, CaseFigures
from yolo_ema.deploy.parity.test_images import GateImage, crowded_image

__all__ = ["BATCH", "Case", "fitting_score", "grey_like", "other_cases", "plain_case"]

BATCH = 4
"""Images a pass, of a file that takes any number."""

_FEW_IMAGES = 4
_GREY = 114
# the weights are first asked for what scores this; for less only where that is too little
_ENOUGH_FROM = 0.001
_TILE_SHARE = 0.6


@dataclass(frozen=True)
class Case:
    """A case that was run.

    Attributes:
        figures: its row in the report.
        compared: image by image; none where every proposal was compared.
        exact: whether who is to blame was seen, see `ImageComparison.exact`.
    """

    figures: CaseFigures
    compared: tuple[ImageComparison, ...] = ()
    exact: bool = True


def fitting_score(rows: Sequence[np.ndarray], wanted: int) -> float:
    """Return the highest of the `LADDER` from which on there are as many boxes as wanted, else
    0.
    """
    scores = np.concatenate([one[:, 4] for one in rows]) if len(rows) else np.empty(0)
    return next((step for step in LADDER if (scores >= step).sum() >= wanted), 0.0)


def plain_case(sides: Sides, images: Sequence[GateImage]) -> tuple[Case, list[np.ndarray], float]:
    """Run the images through both, as many a pass as the file takes; return also the weights' boxes
    and the lowest score.
    """
    reference, lowest = _reference_rows(sides, images, wanted=2 * LEAST_BOXES)
    batch = sides.setup.batch
    other = sides.other_rows(images, lowest, batch)
    compared = sides.compare(images, reference, other, lowest, ask=batch == 1)
    return _case(f"batch {batch}", sides, compared, lowest), reference, lowest


def other_cases(
    sides: Sides, images: Sequence[GateImage], reference: Sequence[np.ndarray], lowest: float
) -> Iterator[Case]:
    """Run what else there is: see the module."""
    setup = sides.setup
    few = images[:_FEW_IMAGES]
    if not (sides.reference.chooses or sides.other.chooses):
        yield _every_proposal(sides, few)
    if setup.facts.dynamic and sides.other.batched:
        yield _joined(open_sides(setup, joined=True), images, reference, lowest)
    if setup.facts.dynamic:
        yield _second(open_sides(setup, _second_size(sides)), few, lowest)
    yield from _crowd(sides)


def _every_proposal(sides: Sides, images: Sequence[GateImage]) -> Case:
    """Compare what the networks propose before NMS, one by one, however low it scores: also levels
    that show nothing here.
    """
    boxes, lost, worst, most = 0, 0, "", -1.0
    px, score, share = 0.0, 0.0, 0.0
    for image in images:
        shown = image.bgr()
        both = sides.proposals(shown)
        if both.reference.shape != both.other.shape:
            lost += abs(len(both.reference) - len(both.other)) or len(both.reference)
            worst, most = image.name, np.inf
            continue
        boxes += len(both.reference)
        # NaN is no agreement: it counts as an endless difference.
        apart = np.nan_to_num(
            np.abs(both.reference.astype(np.float64) - both.other), nan=np.inf, posinf=np.inf
        )
        box_px = float(apart[:, :4].max(initial=0.0)) * sides.scale(shown.shape[:2])
        part = float(as_shares(apart[:, 4:], both.reference[:, 4:]).max(initial=0.0))
        if (badness := _badness(sides, box_px, part)) > most:
            worst, most = image.name, badness
        px, score, share = (
            max(px, box_px),
            max(score, float(apart[:, 4:].max(initial=0.0))),
            max(share, part),
        )
    about = _about(sides, "one image a pass")
    return Case(
        CaseFigures(
            "proposals before NMS",
            len(images),
            boxes,
            lost,
            0,
            0,
            0,
            px,
            score,
            share,
            worst,
            0.0,
            about,
        )
    )


def _badness(sides: Sides, box_px: float, share: float) -> float:
    """Return how many times the tolerance a difference is."""
    tolerance = sides.setup.tolerance
    return max(box_px / max(tolerance.px, 1e-9), share / max(tolerance.score, 1e-9))


def _joined(
    sides: Sides, images: Sequence[GateImage], reference: Sequence[np.ndarray], lowest: float
) -> Case:
    batch = sides.setup.facts.batch if sides.setup.facts.batch > 1 else BATCH
    numbers = [number % len(images) for number in range(batch)]
    some = [images[number] for number in numbers]
    found = sides.other_rows(some, lowest, batch)
    return _case(
        f"batch {batch}",
        sides,
        sides.compare(some, [reference[number] for number in numbers], found, lowest, ask=False),
        lowest,
    )


def _second(sides: Sides, images: Sequence[GateImage], lowest: float) -> Case:
    reference = sides.rows(images, lowest)
    other = sides.other_rows(images, lowest)
    height, width = sides.imgsz_hw
    return _case(
        f"size {height}x{width}",
        sides,
        sides.compare(images, reference, other, lowest, ask=True),
        lowest,
    )


def _second_size(sides: Sides) -> tuple[int, int]:
    """Return another input size: half as high, for frames of 2:1."""
    (height, width), stride = sides.imgsz_hw, sides.other.stride
    lower = max(round(height / 2 / stride), 1) * stride
    return (lower, width) if lower != height else (height, width + stride)


def _crowd(sides: Sides) -> Iterator[Case]:
    """Compare on an image of more than 300 objects, at a score low enough for more than 300 boxes,
    whole and in tiles.
    """
    image, objects = crowded_image()
    reference, lowest = _reference_rows(sides, [image], wanted=LEAST_CROWD + 1)
    other = sides.other_rows([image], lowest, 1)
    ask = sides.setup.batch == 1
    yield _case(
        f"crowded, {objects} objects",
        sides,
        sides.compare([image], reference, other, lowest, ask=ask),
        lowest,
    )
    height, width = image.bgr().shape[:2]
    tile = (int(width * _TILE_SHARE), int(height * _TILE_SHARE))
    ours, theirs = sides.tiled(image, tile, lowest)
    compared = sides.compare([image], [ours], [theirs], lowest, ask=ask, tile_wh=tile)
    yield _case(f"tiles of {tile[0]}x{tile[1]}", sides, compared, lowest)


def _reference_rows(
    sides: Sides, images: Sequence[GateImage], wanted: int
) -> tuple[list[np.ndarray], float]:
    """Return the weights' boxes and the lowest score to look at."""
    if sides.setup.conf is not None:  # NMS in the file has its own
        return sides.rows(images, sides.setup.conf), sides.setup.conf
    rows = sides.rows(images, _ENOUGH_FROM)
    if sum(map(len, rows)) < wanted:
        rows = sides.rows(images, 0.0)
    return rows, fitting_score(rows, wanted)


def _case(name: str, sides: Sides, compared: Sequence[ImageComparison], lowest: float) -> Case:
    def badness(one: ImageComparison) -> float:
        return (
            len(one.lost)
            + len(one.extra)
            + len(one.renamed)
            + _badness(sides, one.box_px, one.score_share)
        )

    figures = CaseFigures(
        name,
        len(compared),
        sum(one.boxes for one in compared),
        sum(len(one.lost) for one in compared),
        sum(len(one.extra) for one in compared),
        sum(len(one.renamed) for one in compared),
        sum(one.ties for one in compared),
        max((one.box_px for one in compared), default=0.0),
        max((one.score for one in compared), default=0.0),
        max((one.score_share for one in compared), default=0.0),
        max(compared, key=badness).name,
        lowest,
        _about(sides, name),
    )
    return Case(figures, tuple(compared), all(one.exact for one in compared))


def _about(sides: Sides, how: str) -> str:
    height, width = sides.imgsz_hw
    return f"input {height}x{width}, {how}"


def grey_like(image: GateImage) -> GateImage:
    """Return an image of the same size that shows nothing: what a file that ignores its input
    cannot tell from others.
    """
    return GateImage("empty image", np.full_like(image.bgr(), _GREY))
