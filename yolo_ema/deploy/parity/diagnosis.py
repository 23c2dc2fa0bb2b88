"""Why a file's boxes are not those of its weights: known faults, tried out or seen in boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from yolo_ema.deploy.parity.box_matching import match_boxes
from yolo_ema.deploy.parity.comparison import ImageComparison, as_shares
from yolo_ema.deploy.parity.model_pair import ModelPair
from yolo_ema.deploy.parity.proof_images import ProofImage
from yolo_ema.errors import YoloEmaError

_TRIED_IMAGES = 2
_MOST_CHANGED = 0.02
"""An input explains the difference if at most this share of boxes stays beyond tolerance."""

_ONE_SIDED = 0.9
_FEW = 3
_DRIFTING = 0.5
_STRIDES = (4, 8, 16, 32, 64, 128)


_INPUTS: tuple[tuple[Callable[[np.ndarray], np.ndarray], str], ...] = (
    (
        lambda batch: batch[:, ::-1],
        "the file expects BGR: with red and blue swapped in its input it gives the weights' boxes",
    ),
    (
        lambda batch: batch * 255,
        "the file expects pixels of 0…255: undivided by 255 they give the weights' boxes",
    ),
    (
        lambda batch: batch / 255,
        "the file scales its input wrongly: pixels of 0…1 divided by 255 give the weights' boxes",
    ),
    (
        lambda batch: batch[:, ::-1] * 255,
        "the file expects BGR of 0…255: so given, its input yields the weights' boxes",
    ),
)
"""Changes to the network's input (B, 3, H, W), RGB in 0…1, and what it means if one helps."""


def diagnose(
    pair: ModelPair, compared: Sequence[ImageComparison], images: Sequence[ProofImage]
) -> list[str]:
    """Return sentences that name the fault; empty if none of the known ones fits."""
    if input_fault := _input_fault(pair, compared, images):
        return [input_fault]
    return (
        [*_blind(compared), *_dropped(pair, compared, images)]
        or [*_permuted(pair, images), *_mismatched(compared, pair.reference.names)][:1]
        or [*_misplaced(pair, images)]
        or [*_drifting(pair, compared, images)]
    )


def _input_fault(
    pair: ModelPair, compared: Sequence[ImageComparison], images: Sequence[ProofImage]
) -> str | None:
    """Return which change of the input makes the file agree."""
    images, compared = images[:_TRIED_IMAGES], compared[: min(len(images), _TRIED_IMAGES)]
    scores = [float(image.reference[:, 4].min(initial=1.0)) for image in compared]
    for transform, sentence in _INPUTS:
        try:
            changed = pair.with_input_transform(transform)
            rows = changed.candidate_rows(images, min(scores, default=0.0), pair.setup.batch)
        except YoloEmaError:  # it cannot be run with another input
            return None
        if _agrees(pair, compared, rows):
            return sentence
    return None


def _agrees(
    pair: ModelPair, compared: Sequence[ImageComparison], rows: Sequence[np.ndarray]
) -> bool:
    """Return whether these boxes are the weights', but for a few."""
    boxes, wrong = 0, 0
    for image, candidate in zip(compared, rows, strict=True):
        matching = match_boxes(image.reference, candidate)
        first, second = image.reference[matching.pairs[:, 0]], candidate[matching.pairs[:, 1]]
        px = np.abs(first[:, :4] - second[:, :4]).max(axis=1, initial=0.0) * image.scale
        shares = as_shares(second[:, 4] - first[:, 4], first[:, 4])
        # Twice, since pixels multiplied by 255 and divided again are rounded.
        far = (px > 2 * pair.setup.tolerance.px) | (shares > 2 * pair.setup.tolerance.score)
        boxes += len(image.reference)
        wrong += int(far.sum()) + len(image.reference) - len(matching.pairs)
    return boxes > 0 and wrong <= _MOST_CHANGED * boxes


def _permuted(pair: ModelPair, images: Sequence[ProofImage]) -> Iterator[str]:
    """Yield that the file's class scores are in another order, as its proposals show."""
    candidates = _candidates(pair, images[0])
    if candidates is None:
        return
    ref, cand = (rows[:, 4:] for rows in candidates)
    tolerance, names = pair.setup.tolerance, pair.reference.names
    order = [
        next(
            (
                j
                for j in range(cand.shape[1])
                if as_shares(cand[:, j] - column, column).max() <= tolerance.score
            ),
            None,
        )
        for column in ref.T
    ]
    if None in order or order == sorted(order, key=lambda j: j or 0):
        return
    moved = [
        f"{names.get(i)} where the weights give {names.get(j or 0)}"
        for j, i in enumerate(order)
        if i is not None and i != j
    ]
    yield f"the file gives its class scores in another order: {'; '.join(moved[:4])}"


def _mismatched(compared: Sequence[ImageComparison], names: Mapping[int, str]) -> Iterator[str]:
    """Yield which classes are in each other's place."""
    seen: Counter[tuple[int, int]] = Counter()
    of_class: Counter[int] = Counter()
    for image in compared:
        of_class.update(image.reference[:, 5].astype(int).tolist())
        for ref, cand in image.class_mismatch:
            seen[int(image.reference[ref, 5]), int(image.candidate[cand, 5])] += 1
    for (ref, cand), count in sorted(seen.items()):
        if count >= _FEW and count >= _DRIFTING * of_class[ref]:
            yield (
                f"the file gives class {cand} ({names.get(cand)}) where the weights give "
                f"{ref} ({names.get(ref)}): {count} of {of_class[ref]} boxes of that class"
            )


def _blind(compared: Sequence[ImageComparison]) -> Iterator[str]:
    """Yield that a file answers all images alike."""
    filled = [image for image in compared if len(image.reference)]
    if len(filled) < _FEW or not any(len(image.missing) for image in filled):
        return
    first, *others = (image.candidate[:, 4] for image in filled)
    if not any(map(len, (first, *others))):
        yield "the file gives no box on any image"
    elif all(len(scores) == len(first) for scores in others) and np.allclose(
        others, first, rtol=1e-4
    ):
        yield (
            "the file gives the same scores for every image, and the weights do not: it ignores "
            "its input"
        )


def _dropped(
    pair: ModelPair, compared: Sequence[ImageComparison], images: Sequence[ProofImage]
) -> Iterator[str]:
    """Yield which boxes a file drops, if it gives hardly any of its own."""
    missing = sum(len(image.missing) for image in compared)
    spurious = sum(len(image.spurious) for image in compared)
    if missing < _FEW or missing < _ONE_SIDED * (missing + spurious):
        return
    total = sum(len(image.reference) for image in compared)
    message = (
        f"the file drops detections: {missing} of the weights' {total} boxes are missing, and it "
        f"gives {spurious} of its own"
    )
    limit = max(len(image.candidate) for image in compared)
    at_limit = sum(len(image.candidate) == limit for image in compared)
    short = [image for image in compared if len(image.missing)]
    if (
        limit < pair.setup.max_boxes
        and at_limit > 1
        and all(len(image.candidate) == limit for image in short)
    ):
        most = max(len(image.reference) for image in compared)
        yield f"{message}; it keeps at most {limit} boxes per image, and the weights up to {most}"
        return
    yield message + _missing_proposals(pair, images) + _about_missing(compared)


def _missing_proposals(pair: ModelPair, images: Sequence[ProofImage]) -> str:
    if pair.reference.has_builtin_nms or pair.candidate.has_builtin_nms:
        return ""
    ref, cand = map(len, pair.proposals(images[0].bgr()))
    return (
        f"; its network proposes {cand} boxes per image before NMS, the weights' {ref}"
        if ref != cand
        else ""
    )


def _about_missing(compared: Sequence[ImageComparison]) -> str:
    """Return how large the missing boxes are, and how high they score."""
    scores = np.concatenate([image.reference[image.missing, 4] for image in compared])
    sizes = []
    for image in compared:
        sides = np.clip(
            np.diff(image.reference[image.missing, :4].reshape(-1, 2, 2), axis=1), 0, None
        )
        sizes.append(np.sqrt(sides.prod(axis=(1, 2))) * image.scale)
    size = np.concatenate(sizes)
    return (
        f"; the missing ones are {size.min():.0f} to {size.max():.0f} px large at the input, score "
        f"{scores.min():.2g} to {scores.max():.2g}"
    )


def _misplaced(pair: ModelPair, images: Sequence[ProofImage]) -> Iterator[str]:
    """Yield that scores agree and boxes are displaced by a rule: another letterbox or unit."""
    candidates = _candidates(pair, images[0])
    if candidates is None:
        return
    ref, cand = candidates
    if as_shares(cand[:, 4:] - ref[:, 4:], ref[:, 4:]).max() > pair.setup.tolerance.score:
        return
    factors, shifts = [], []
    for axis in range(2):
        factor, shift = np.polyfit(ref[:, axis], cand[:, axis], 1)
        if (
            np.abs(factor * ref[:, axis] + shift - cand[:, axis]).max()
            > 1.0 + 0.001 * abs(ref[:, axis]).max()
        ):
            return
        factors.append(float(factor))
        shifts.append(round(float(shift), 1) + 0.0)  # no -0
    if max(abs(factor - 1) for factor in factors) < 0.002 and max(map(abs, shifts)) < 0.2:
        return
    yield (
        f"the file's scores agree, but its boxes are displaced by a rule: centers are the weights' "
        f"times {factors[0]:.4g}, {factors[1]:.4g} (x, y) plus {shifts[0]:.1f}, {shifts[1]:.1f} px "
        f"of the input, as after another letterbox or in other units"
    )


def _drifting(
    pair: ModelPair, compared: Sequence[ImageComparison], images: Sequence[ProofImage]
) -> Iterator[str]:
    """Yield that most boxes differ a little: some layer computes something else."""
    px = np.concatenate([image.px for image in compared])
    scores = np.concatenate([image.scores for image in compared])
    shares = np.concatenate([image.shares for image in compared])
    moved, changed = px > pair.setup.tolerance.px, shares > pair.setup.tolerance.score
    if not len(px) or not (moved | changed).any():
        return
    kinds = [word for word, mask in (("boxes", moved), ("scores", changed)) if mask.any()]
    side = ""
    if changed.any():
        lower = float((scores[changed] < 0).mean())
        word = "lower" if lower > 0.5 else "higher"
        side = f", {100 * max(lower, 1 - lower):.0f} % of the changed scores {word}"
    yield (
        f"{' and '.join(kinds)} drift: {100 * (moved | changed).mean():.0f} % of the matched boxes "
        f"differ beyond the tolerance, by a median of {np.median(px):.2g} px and "
        f"{100 * np.median(shares):.2g} % of the score{side}; no change to the input fixes it: a "
        f"layer computes something else, as if a convolution were scaled or rounded"
        f"{_where(pair, images)}"
    )


def _where(pair: ModelPair, images: Sequence[ProofImage]) -> str:
    """Return at which levels of the network's grid proposals differ."""
    candidates, counts = _candidates(pair, images[0]), _levels(pair)
    if candidates is None or sum(counts.values()) != len(candidates[0]):
        return ""
    ref, cand = candidates
    differs = (np.abs(cand[:, :4] - ref[:, :4]).max(axis=1) > pair.setup.tolerance.px) | (
        as_shares(cand[:, 4:] - ref[:, 4:], ref[:, 4:]).max(axis=1) > pair.setup.tolerance.score
    )
    parts = np.split(differs, np.cumsum(list(counts.values()))[:-1])
    touched = [str(stride) for stride, part in zip(counts, parts, strict=True) if part.any()]
    if not touched:
        return ""
    if len(touched) == len(counts):
        return " (at all strides)"
    return f" (only at stride {', '.join(touched)})"


def _levels(pair: ModelPair) -> dict[int, int]:
    """Return the number of proposals of each stride; empty if they cannot be distinguished."""
    height, width = pair.imgsz_hw
    strides = [stride for stride in _STRIDES if stride <= pair.reference.stride]
    count = len(pair.proposals(np.full((height, width, 3), 114, np.uint8))[0])
    for first in range(len(strides)):
        counts = {stride: (height // stride) * (width // stride) for stride in strides[first:]}
        if sum(counts.values()) == count:
            return counts
    return {}


def _candidates(pair: ModelPair, image: ProofImage) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what both propose in the order of the grid; None if that cannot be compared."""
    shown = image.bgr()
    ref, cand = pair.reference.candidates(shown), pair.candidate.candidates(shown)
    if ref is None or cand is None or ref.shape != cand.shape or not np.isfinite(cand).all():
        return None
    return ref, cand
