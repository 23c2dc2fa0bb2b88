"""From annotated boxes to the labels of an image: clipped boxes with classes, ignored regions, and
what was odd on the way.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from yolo_ema.constants import IGNORED, OTHERS
from yolo_ema.visdrone.annotations import Annotations, Anomaly


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledImage:
    """The labels of one image.

    Attributes:
        key: the image's place below its split's folder, without suffix, with ``/`` between folders.
        image: the user's image.
        annotation: the original file with eight fields per row; None if there is none in that
            format.
        image_wh: width and height in pixels as the image is shown, turned by its EXIF orientation.
        boxes_xyxy: (N, 4) float64 in pixels, inside the image.
        classes: (N,) int64, from 0.
        ignored_xyxy: (R, 4) float64 in pixels, regions that are neither object nor background.
    """

    key: str
    image: Path
    annotation: Path | None
    image_wh: tuple[int, int]
    boxes_xyxy: np.ndarray
    classes: np.ndarray
    ignored_xyxy: np.ndarray


def clip_boxes(boxes_ltwh: np.ndarray, size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to the image.

    Args:
        boxes_ltwh: (N, 4) left, top, width, height in pixels.
        size_wh: the image's width and height in pixels.

    Returns:
        (N, 4) float64 corners x1, y1, x2, y2 in pixels, each inside the image, and (N,) one word
        for each: ``inside``, ``clipped``, ``outside`` (no part is in the image) or ``no-area``.
    """
    width, height = size_wh
    boxes = np.asarray(boxes_ltwh, dtype=np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    clipped = np.clip(corners, 0, [width, height, width, height])
    fates = np.full(len(boxes), "inside", dtype="<U8")
    fates[(clipped != corners).any(axis=1)] = "clipped"
    fates[(clipped[:, 2:] <= clipped[:, :2]).any(axis=1)] = "outside"
    fates[(boxes[:, 2:] <= 0).any(axis=1)] = "no-area"
    return clipped, fates


def label_annotations(
    annotations: Annotations, key: str, image: Path, file: Path, size_wh: tuple[int, int]
) -> tuple[LabelledImage, list[Anomaly]]:
    """Derive an image's labels from its VisDrone annotations.

    Boxes of the categories 1 to 10 become the classes 0 to 9. Ignored regions are those of category
    0, and boxes of the categories 1 to 10 with score 0, which the evaluation ignores, too. Category
    11 is neither labelled nor ignored. Boxes are clipped to the image; those without area, and
    those outside it, are dropped.

    Returns:
        The labels, and the anomalies that take the image's size to see, in the order of rows.
    """
    corners, fates = clip_boxes(annotations.boxes_ltwh, size_wh)
    anomalies = [
        Anomaly(
            str(file),
            int(annotations.lines[index]),
            *describe_fate(fates[index], annotations.boxes_ltwh[index], size_wh),
        )
        for index in np.flatnonzero((fates == "clipped") | (fates == "outside"))
    ]
    kept = (fates == "inside") | (fates == "clipped")
    real = (annotations.category > IGNORED) & (annotations.category < OTHERS)
    objects = kept & real & (annotations.score != 0)
    ignored = kept & ((annotations.category == IGNORED) | (real & (annotations.score == 0)))
    labels = LabelledImage(
        key,
        image,
        file,
        size_wh,
        corners[objects],
        annotations.category[objects] - 1,
        corners[ignored],
    )
    return labels, anomalies


def describe_fate(fate: str, box_ltwh: np.ndarray, size_wh: tuple[int, int]) -> tuple[str, str]:
    """Return the kind of anomaly and the message for a box that `clip_boxes` calls anything but
    ``inside``.
    """
    box = f"the box {','.join(f'{number:g}' for number in box_ltwh)}"
    image = f"the {size_wh[0]}x{size_wh[1]} image"
    return {
        "clipped": ("beyond-border", f"{box} reaches beyond {image}; it is clipped"),
        "outside": ("outside-image", f"{box} lies outside {image}; it is dropped"),
        "no-area": ("no-area", f"{box} has no area; it is dropped"),
    }[fate]


def yolo_rows(
    boxes_xyxy: np.ndarray, size_wh: tuple[int, int], classes: np.ndarray | None = None
) -> str:
    """Return text rows ``[class] x_center y_center width height``, normalised to 0..1 with six
    decimals, one box per row.
    """
    scale = np.array([*size_wh, *size_wh], dtype=np.float64)
    corners = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4) / scale
    rows = np.concatenate(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
    )
    heads = [""] * len(rows) if classes is None else [f"{number} " for number in classes]
    return "".join(
        f"{head}{x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
        for head, (x, y, w, h) in zip(heads, rows.tolist(), strict=True)
    )
