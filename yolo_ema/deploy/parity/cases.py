"""The cases of the proof: one image per pass and several, another size, a crowded image, tiles, and
every proposal before NMS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.deploy.parity.comparison import ImageComparison, as_shares
from yolo_ema.deploy.parity.model_pair import SCORE_THRESHOLDS, ModelPair
from yolo_ema.deploy.parity.parity_report import MIN_BOXES, MIN_CROWD_BOXES, CaseFigures
from yolo_ema.deploy.parity.proof_images import ProofImage, crowded_image

BATCH = 4
"""Images per pass of a file that takes any number."""

_FEW_IMAGES = 4
_GREY = 114
_FIRST_LOWEST = 0.001  # lower scores are asked for only if this gives too few boxes
_TILE_SHARE = 0.6


@dataclass(frozen=True)
class Case:
    """A case that was run.

    Attributes:
        figures: its row in the report.
        compared: image by image; empty where every proposal was compared.
        exact: whether its ties are proven, see `ImageComparison.exact`.
    """

    figures: CaseFigures
    compared: tuple[ImageComparison, ...] = ()
    exact: bool = True


def fitting_score(rows: Sequence[np.ndarray], wanted: int) -> float:
    """Return the highest of `SCORE_THRESHOLDS` that leaves as many boxes as wanted, else 0."""
    scores = np.concatenate([np.empty(0), *(boxes[:, 4] for boxes in rows)])
    return next((step for step in SCORE_THRESHOLDS if (scores >= step).sum() >= wanted), 0.0)


def plain_case(
    pair: ModelPair, images: Sequence[ProofImage]
) -> tuple[Case, list[np.ndarray], float]:
    """Run the images through both, as many per pass as the file takes.

    Returns:
        The case, the weights' boxes of each image, and the lowest score that was compared.
    """
    reference, lowest = _reference_rows(pair, images, count=2 * MIN_BOXES)
    batch = pair.setup.batch
    candidate = pair.candidate_rows(images, lowest, batch)
    compared = pair.compare(images, reference, candidate, lowest)
    return _case(f"batch {batch}", pair, compared, lowest), reference, lowest


def other_cases(
    pair: ModelPair, images: Sequence[ProofImage], reference: Sequence[np.ndarray], lowest: float
) -> Iterator[Case]:
    """Run all other cases, see the module."""
    few = images[:_FEW_IMAGES]
    if not (pair.reference.has_builtin_nms or pair.candidate.has_builtin_nms):
        yield _every_proposal(pair, few)
    if pair.setup.metadata.dynamic:
        if pair.candidate.batched:
            yield _in_batches(pair.in_batches(), images, reference, lowest)
        yield _second_size(pair, few, lowest)
    yield from _crowd(pair)


def _every_proposal(pair: ModelPair, images: Sequence[ProofImage]) -> Case:
    """Compare what the networks propose before NMS one by one, however low it scores: this covers
    levels of the grid that show nothing here, too.
    """
    boxes, missing, worst, largest = 0, 0, "", -1.0
    px, score, share = 0.0, 0.0, 0.0
    for image in images:
        shown = image.bgr()
        reference, candidate = pair.proposals(shown)
        if reference.shape != candidate.shape:
            missing += abs(len(reference) - len(candidate)) or len(reference)
            worst, largest = image.name, np.inf
            continue
        boxes += len(reference)
        # NaN agrees with nothing: it counts as an infinite difference.
        difference = np.nan_to_num(
            np.abs(reference.astype(np.float64) - candidate), nan=np.inf, posinf=np.inf
        )
        image_px = float(difference[:, :4].max(initial=0.0)) * pair.scale(shown.shape[:2])
        image_share = float(as_shares(difference[:, 4:], reference[:, 4:]).max(initial=0.0))
        if (badness := _badness(pair, image_px, image_share)) > largest:
            worst, largest = image.name, badness
        px, share = max(px, image_px), max(share, image_share)
        score = max(score, float(difference[:, 4:].max(initial=0.0)))
    return Case(
        CaseFigures(
            name="proposals before NMS",
            about=_about(pair, "one image per pass"),
            images=len(images),
            boxes=boxes,
            missing=missing,
            box_px=px,
            score=score,
            score_share=share,
            worst=worst,
            lowest_score=0.0,
        )
    )


def _badness(pair: ModelPair, box_px: float, share: float) -> float:
    """Return how many times the tolerance a difference is."""
    tolerance = pair.setup.tolerance
    return max(box_px / max(tolerance.px, 1e-9), share / max(tolerance.score, 1e-9))


def _in_batches(
    pair: ModelPair, images: Sequence[ProofImage], reference: Sequence[np.ndarray], lowest: float
) -> Case:
    batch = pair.setup.metadata.batch if pair.setup.metadata.batch > 1 else BATCH
    numbers = [number % len(images) for number in range(batch)]
    group = [images[number] for number in numbers]
    candidate = pair.candidate_rows(group, lowest, batch)
    rows = [reference[number] for number in numbers]
    compared = pair.compare(group, rows, candidate, lowest)
    return _case(f"batch {batch}", pair, compared, lowest)


def _second_size(pair: ModelPair, images: Sequence[ProofImage], lowest: float) -> Case:
    """Compare at half the height, as for frames of 2:1."""
    (height, width), stride = pair.imgsz_hw, pair.candidate.stride
    lower = max(round(height / 2 / stride), 1) * stride
    pair = pair.at_size((lower, width) if lower != height else (height, width + stride))
    reference, candidate = pair.reference_rows(images, lowest), pair.candidate_rows(images, lowest)
    height, width = pair.imgsz_hw
    compared = pair.compare(images, reference, candidate, lowest)
    return _case(f"size {height}x{width}", pair, compared, lowest)


def _crowd(pair: ModelPair) -> Iterator[Case]:
    """Compare on an image of more than 300 objects, at a score low enough for more than 300 boxes,
    whole and in tiles.
    """
    image, objects = crowded_image()
    reference, lowest = _reference_rows(pair, [image], count=MIN_CROWD_BOXES + 1)
    candidate = pair.candidate_rows([image], lowest, 1)
    compared = pair.compare([image], reference, candidate, lowest)
    yield _case(f"crowded, {objects} objects", pair, compared, lowest)
    height, width = image.bgr().shape[:2]
    tile = (int(width * _TILE_SHARE), int(height * _TILE_SHARE))
    ref, cand = pair.tiled(image, tile, lowest)
    compared = pair.compare([image], [ref], [cand], lowest, tile_wh=tile)
    yield _case(f"tiles of {tile[0]}x{tile[1]}", pair, compared, lowest)


def _reference_rows(
    pair: ModelPair, images: Sequence[ProofImage], count: int
) -> tuple[list[np.ndarray], float]:
    """Return the weights' boxes and the lowest score to compare."""
    if (built_in := pair.setup.conf) is not None:
        return pair.reference_rows(images, built_in), built_in
    rows = pair.reference_rows(images, _FIRST_LOWEST)
    if sum(map(len, rows)) < count:
        rows = pair.reference_rows(images, 0.0)
    return rows, fitting_score(rows, count)


def _case(name: str, pair: ModelPair, compared: Sequence[ImageComparison], lowest: float) -> Case:
    def badness(image: ImageComparison) -> float:
        alone = len(image.missing) + len(image.spurious) + len(image.class_mismatch)
        return alone + _badness(pair, image.box_px, image.score_share)

    figures = CaseFigures(
        name=name,
        about=_about(pair, name),
        images=len(compared),
        boxes=sum(image.boxes for image in compared),
        missing=sum(len(image.missing) for image in compared),
        spurious=sum(len(image.spurious) for image in compared),
        class_mismatch=sum(len(image.class_mismatch) for image in compared),
        ties=sum(image.ties for image in compared),
        box_px=max((image.box_px for image in compared), default=0.0),
        score=max((image.score for image in compared), default=0.0),
        score_share=max((image.score_share for image in compared), default=0.0),
        worst=max(compared, key=badness).name,
        lowest_score=lowest,
    )
    return Case(figures, tuple(compared), all(image.exact for image in compared))


def _about(pair: ModelPair, mode: str) -> str:
    height, width = pair.imgsz_hw
    return f"input {height}x{width}, {mode}"


def empty_like(image: ProofImage) -> ProofImage:
    """Return an image of the same size that shows nothing: a file that ignores its input answers it
    like any other.
    """
    return ProofImage("empty image", np.full_like(image.bgr(), _GREY))
