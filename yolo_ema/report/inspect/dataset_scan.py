"""Reads a dataset for inspection: every image's size, labels and ignored regions, and a small grey
picture to compare it by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from yolo_ema.engine.data.label_files import Problem, read_label_file, read_region_file
from yolo_ema.engine.data.split_files import ignored_path, label_path
from yolo_ema.errors import AnnotationError
from yolo_ema.io.image_header import ImageHeaderError, image_wh

__all__ = ["THUMBNAIL_SIDE", "SplitScan", "percent_below", "read_thumbnail", "scan_split"]

THUMBNAIL_SIDE = 32
_ROUNDING_PX = 0.005
_REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    1: cv2.IMREAD_GRAYSCALE,
}


@dataclasses.dataclass(frozen=True, eq=False)
class SplitScan:
    """A split as arrays.

    Attributes:
        split: its name.
        images: I readable images.
        sizes_wh: (I, 2) float64 width and height in pixels.
        without_labels: number of images that have no label file.
        image_of: (N,) index into ``images`` of each box.
        classes: (N,) class of each box.
        boxes_xyxy: (N, 4) float64 in pixels of the image.
        regions_of: (R,) index into ``images`` of each ignored region.
        regions_xyxy: (R, 4) float64 in pixels.
        problems: rows and files that cannot be used.
        repeated: rows that repeat an earlier one.
        thumbnails: (I, 32, 32) uint8 grey; None where they were not asked for.
    """

    split: str
    images: list[Path]
    sizes_wh: np.ndarray
    without_labels: int
    image_of: np.ndarray
    classes: np.ndarray
    boxes_xyxy: np.ndarray
    regions_of: np.ndarray
    regions_xyxy: np.ndarray
    problems: list[Problem]
    repeated: list[Problem]
    thumbnails: np.ndarray | None

    @property
    def objects_per_image(self) -> np.ndarray:
        """Return (I,) the number of boxes of each image."""
        return np.bincount(self.image_of, minlength=len(self.images))

    def training_sizes_px(self, imgsz: int) -> np.ndarray:
        """Return (N,) the square root of each box's area in pixels, with its image's longer side
        scaled to ``imgsz``.
        """
        scale = imgsz / self.sizes_wh.max(axis=1, initial=1)
        sides = np.maximum(self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2], 0)
        return np.sqrt(sides.prod(axis=1)) * scale[self.image_of]


def percent_below(sizes_px: np.ndarray, edge_px: float) -> float:
    """Return the percent of sizes below an edge.

    Labels are rounded in the sixth decimal: a box of exactly that size must not fall below it for
    that.
    """
    return 100 * float((sizes_px < edge_px - _ROUNDING_PX).mean())


def scan_split(
    split: str, images: Sequence[Path], class_count: int, *, thumbnails: bool
) -> SplitScan:
    """Read a split. Images that cannot be read, and rows that are wrong, are named in ``problems``
    and left out.

    Args:
        split: its name.
        images: its images.
        class_count: classes are 0 to ``class_count - 1``.
        thumbnails: read each image's pixels too, for the search of near-duplicates.
    """
    problems: list[Problem] = []
    repeated: list[Problem] = []
    kept: list[Path] = []
    sizes, boxes, regions, small = [], [], [], []
    without_labels = 0
    for image in tqdm(images, desc=f"reading {split}", unit="image", disable=None, leave=False):
        try:
            size_wh = image_wh(image)
            thumbnail = read_thumbnail(image, size_wh) if thumbnails else None
        except ImageHeaderError as error:
            problems.append(Problem(str(image), 0, f"the image {error}"))
            continue
        file = label_path(image)
        without_labels += not file.is_file()
        kept.append(image)
        sizes.append(size_wh)
        boxes.append(_boxes(file, size_wh, class_count, problems, repeated))
        regions.append(
            _regions(ignored_path(image), size_wh, problems)
            if ignored_path(image) != file
            else np.zeros((0, 4))
        )
        if thumbnail is not None:
            small.append(thumbnail)
    joined = np.concatenate([np.zeros((0, 5)), *boxes])
    return SplitScan(
        split=split,
        images=kept,
        sizes_wh=np.array(sizes, dtype=np.float64).reshape(-1, 2),
        without_labels=without_labels,
        image_of=_owner(boxes),
        classes=joined[:, 0].astype(np.int64),
        boxes_xyxy=joined[:, 1:],
        regions_of=_owner(regions),
        regions_xyxy=np.concatenate([np.zeros((0, 4)), *regions]),
        problems=problems,
        repeated=repeated,
        thumbnails=np.array(small, dtype=np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        if thumbnails
        else None,
    )


def _owner(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])


def read_thumbnail(image: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """Return (32, 32) uint8, the image in grey. Raises `ImageHeaderError` where it cannot be
    decoded.
    """
    # JPEGs are decoded at a fraction of their size, which is far quicker and as good for this.
    factor = next(
        factor for factor in _REDUCED if factor == 1 or min(size_wh) >= 4 * factor * THUMBNAIL_SIDE
    )
    try:
        content = np.frombuffer(image.read_bytes(), dtype=np.uint8)
        grey = cv2.imdecode(content, _REDUCED[factor]) if len(content) else None
    except (OSError, cv2.error) as error:
        raise ImageHeaderError(f"cannot be decoded: {error}") from error
    if grey is None:
        raise ImageHeaderError("cannot be decoded")
    return cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)


def _boxes(
    file: Path,
    size_wh: tuple[int, int],
    class_count: int,
    problems: list[Problem],
    repeated: list[Problem],
) -> np.ndarray:
    """Return (N, 5) class, x1, y1, x2, y2 in pixels."""
    if not file.is_file():
        return np.zeros((0, 5))
    try:
        rows = read_label_file(
            file, class_count=class_count, problems=problems, notes=repeated
        ).rows.astype(np.float64)
    except (AnnotationError, OSError) as error:
        problems.append(Problem(str(file), 0, str(error)))
        return np.zeros((0, 5))
    return np.column_stack([rows[:, 0], _corners(rows[:, 1:], size_wh)])


def _regions(file: Path, size_wh: tuple[int, int], problems: list[Problem]) -> np.ndarray:
    if not file.is_file():
        return np.zeros((0, 4))
    try:
        return _corners(read_region_file(file, problems=problems), size_wh)
    except (AnnotationError, OSError) as error:
        problems.append(Problem(str(file), 0, str(error)))
        return np.zeros((0, 4))


def _corners(shares_xywh: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Return corners in pixels for centres and sides as shares of the image."""
    shares = np.asarray(shares_xywh, dtype=np.float64).reshape(-1, 4)
    corners = np.column_stack(
        [shares[:, :2] - shares[:, 2:] / 2, shares[:, :2] + shares[:, 2:] / 2]
    )
    return corners * np.array([*size_wh, *size_wh], dtype=np.float64)
