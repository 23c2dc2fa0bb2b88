"""Pasting copies of an image's own small objects, with their pixels, into free places of it.

After Kisantal et al., Augmentation for small object detection, 2019,
https://arxiv.org/abs/1902.07296. What differs: only boxes are known, so the box's pixels are copied
with a soft edge around them, and places are drawn where the copy may pass for real: in the same
image, hence the same light; beside another labelled object, hence where such things are; and at
nearly the same height in the image, hence about the same scale in an oblique view.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ultralytics.utils.metrics import bbox_ioa

from yolo_ema.engine.data.ignored_regions import IGNORED_CLASS, box_instances

LARGEST_PX = 48
"""Longest side of an object that is copied, in pixels of the image as it is trained on."""

SMALLEST_PX = 4
"""Shortest side of a copied object: below it there is little to see."""

MOST_COPIES = 10
"""Maximum copies per image."""

_TRIES = 10  # places drawn for a copy before it is given up
_VERTICAL = 0.1  # how far up or down a copy may move, as a share of the image's height
_BESIDE = 3.0  # how far from another object, in longer sides of the copied one
_ALONE = 0.1  # share of an object that others or regions may cover for it to be copied


def paste_boxes(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    classes: np.ndarray,
    regions_xyxy: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paste up to `MOST_COPIES` copies of small objects; the classes in the image have equal
    chances, whatever their counts.

    No copy touches an object, another copy or an ignored region, and objects that others cover are
    not copied.

    Args:
        image: (H, W, C) uint8; not changed.
        boxes_xyxy: (N, 4) labels in pixels.
        classes: (N,) or (N, 1).
        regions_xyxy: (R, 4) ignored regions in pixels.
        rng: where places, objects and mirroring are drawn from.

    Returns:
        The image with the copies, their boxes (M, 4) in pixels, and the classes' rows of their
        originals.
    """
    sources = _sources(image.shape, boxes_xyxy, regions_xyxy)
    if not len(sources):
        return image, boxes_xyxy[:0], classes[:0]
    image = image.copy()
    occupied = np.concatenate((boxes_xyxy, regions_xyxy))
    by_class: dict[float, list[int]] = {}
    for index in sources.tolist():
        by_class.setdefault(float(classes[index].item()), []).append(index)
    pasted: list[np.ndarray] = []
    origins: list[int] = []
    for _ in range(min(MOST_COPIES, len(sources))):
        index = int(rng.choice(by_class[rng.choice(sorted(by_class))]))
        place = _place(image.shape, boxes_xyxy[index], boxes_xyxy, occupied, rng)
        if place is None:
            continue
        copy = _paste(image, boxes_xyxy[index], place, mirrored=bool(rng.integers(2)))
        occupied = np.concatenate((occupied, copy[None]))
        pasted.append(copy)
        origins.append(index)
    return image, np.array(pasted, dtype=boxes_xyxy.dtype).reshape(-1, 4), classes[origins]


def paste_into_sample(sample: dict[str, Any], rng: np.random.Generator) -> None:
    """Do as `paste_boxes` for a sample of a dataset, in place; where its labels are polygons, a
    copy's is the outline of its box.
    """
    instances = sample["instances"]
    height, width = sample["img"].shape[:2]
    instances.convert_bbox("xyxy")
    instances.denormalize(width, height)
    is_region = sample["cls"].reshape(-1) == IGNORED_CLASS
    boxes, classes = instances.bboxes, sample["cls"]
    sample["img"], copies, rows = paste_boxes(
        sample["img"], boxes[~is_region], classes[~is_region], boxes[is_region], rng
    )
    segments = None
    if len(copies) and len(instances.segments):
        points = instances.segments.shape[1]
        outlines = box_instances(copies, points=points, normalized=False).segments
        segments = np.concatenate((instances.segments, outlines))
    instances.update(np.concatenate((boxes, copies)), segments)
    sample["cls"] = np.concatenate((classes, rows))
    instances.normalize(width, height)
    instances.convert_bbox("xywh")


def _sources(shape: tuple[int, ...], boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return the places of the objects that may be copied."""
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = _margin(boxes)[:, None]
    inside = ((boxes[:, :2] - margin >= 0) & (boxes[:, 2:] + margin <= (shape[1], shape[0]))).all(1)
    small = (sides.max(1, initial=0) <= LARGEST_PX) & (sides.min(1, initial=np.inf) >= SMALLEST_PX)
    candidates = np.flatnonzero(small & inside)
    if not len(candidates):
        return candidates
    others = np.concatenate((boxes, regions))
    # Of each candidate, the share that each other box covers.
    covered = bbox_ioa(others, boxes[candidates])
    covered[candidates, np.arange(len(candidates))] = 0
    return candidates[(covered < _ALONE).all(0)]


def _margin(boxes: np.ndarray) -> np.ndarray:
    """Return the width of the soft edge in pixels: a tenth of the longer side, at least one."""
    return np.maximum(1, np.round((boxes[..., 2:] - boxes[..., :2]).max(-1, initial=0) / 10))


def _place(
    shape: tuple[int, ...],
    box: np.ndarray,
    objects: np.ndarray,
    occupied: np.ndarray,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Draw whole pixels to move a box by, so that it lands beside an object and free of all that is
    taken; None where none fits.
    """
    height, width = shape[:2]
    margin = float(_margin(box))
    centre, reach = (box[:2] + box[2:]) / 2, _VERTICAL * height
    centres = (objects[:, :2] + objects[:, 2:]) / 2
    nearby = centres[abs(centres[:, 1] - centre[1]) <= reach]  # the object itself is among them
    spread = _BESIDE * float((box[2:] - box[:2]).max())
    for _ in range(_TRIES):
        dx, dy = (
            np.round(nearby[rng.integers(len(nearby))] - centre + rng.uniform(-spread, spread, 2))
            .astype(int)
            .tolist()
        )
        x1, y1, x2, y2 = box + np.array([dx - margin, dy - margin, dx + margin, dy + margin])
        outside = x1 < 0 or y1 < 0 or x2 > width or y2 > height or abs(dy) > reach
        near = (
            (occupied[:, 0] < x2 + margin)
            & (occupied[:, 2] > x1 - margin)
            & (occupied[:, 1] < y2 + margin)
            & (occupied[:, 3] > y1 - margin)
        )
        if not outside and not near.any():
            return dx, dy
    return None


def _paste(
    image: np.ndarray, box: np.ndarray, move: tuple[int, int], *, mirrored: bool
) -> np.ndarray:
    """Copy a box's pixels, moved by whole pixels, into ``image``; return the copy's box."""
    dx, dy = move
    margin = int(_margin(box))
    x1, y1 = (int(np.floor(value)) - margin for value in box[:2])
    x2, y2 = (int(np.ceil(value)) + margin for value in box[2:])
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, image.shape[1]), min(y2, image.shape[0])
    patch = image[y1:y2, x1:x2].copy()
    weight = _soft_edge(patch.shape[:2], margin)
    moved = box + np.array([dx, dy, dx, dy], dtype=box.dtype)
    if mirrored:
        patch, weight = patch[:, ::-1], weight[:, ::-1]
        moved[[0, 2]] = (x1 + x2 + 2 * dx) - moved[[2, 0]]
    target = image[y1 + dy : y2 + dy, x1 + dx : x2 + dx]
    rows, columns = target.shape[:2]
    patch, weight = patch[:rows, :columns], weight[:rows, :columns]
    target[:] = np.round(patch * weight + target * (1 - weight)).astype(image.dtype)
    return moved


def _soft_edge(shape_hw: tuple[int, int], margin: int) -> np.ndarray:
    """Return (H, W, 1) weights of a patch: 1 inside, falling to almost 0 across the margin."""
    ramps = []
    for length in shape_hw:
        ramp = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1)) / (margin + 1)
        ramps.append(np.minimum(ramp, 1.0))
    return np.minimum.outer(*ramps)[..., None].astype(np.float32)
