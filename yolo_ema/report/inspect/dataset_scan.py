"""Reads a dataset for inspection, with the reader that training uses: every image's size, labels
and ignored regions, and a small grey copy to compare it by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from yolo_ema.engine.data.label_files import Problem
from yolo_ema.engine.data.label_scan import scan_labels
from yolo_ema.engine.data.split_files import label_path, region_files
from yolo_ema.engine.data.training_images import read_training_image
from yolo_ema.io.image_header import ImageHeaderError, image_wh

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
        images: I images that can be used.
        left_out: number of images that cannot.
        sizes_wh: (I, 2) float64 width and height in pixels.
        without_labels: those of ``images`` that have no label file.
        image_of: (N,) index into ``images`` of each box.
        classes: (N,) class of each box.
        boxes_xyxy: (N, 4) float64 in pixels of the image.
        row_numbers: (N,) row of each box in its label file, counted from 1.
        regions_of: (R,) index into ``images`` of each ignored region.
        regions_xyxy: (R, 4) float64 in pixels.
        problems: rows and files that cannot be used.
        repeated: rows that repeat an earlier one.
        thumbnails: (I, 32, 32) uint8 grey; None where they were not asked for.
    """

    split: str
    images: list[Path]
    left_out: int
    sizes_wh: np.ndarray
    without_labels: list[Path]
    image_of: np.ndarray
    classes: np.ndarray
    boxes_xyxy: np.ndarray
    row_numbers: np.ndarray
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


def one_line(name: str) -> str:
    """Return a class's or file's name with line breaks and control characters as spaces."""
    return "".join(sign if sign.isprintable() else " " for sign in name)


def percent_below(sizes_px: np.ndarray, edge_px: float) -> float:
    """Return the percentage of sizes below an edge.

    Labels are rounded to six decimals, which must not push a box of exactly that size below it.
    """
    return 100 * float((sizes_px < edge_px - _ROUNDING_PX).mean())


def scan_split(
    split: str,
    images: Sequence[Path],
    class_count: int,
    *,
    thumbnails: bool,
    row_length: int = 5,
) -> SplitScan:
    """Read a split. Images and rows that cannot be used are named in ``problems`` and left out, the
    same ones as in training.

    Args:
        split: its name.
        images: its images.
        class_count: classes are 0 to ``class_count - 1``.
        thumbnails: decode the images too, for the search for near-duplicates.
        row_length: see `yolo_ema.engine.data.label_files.label_row_length`.
    """
    paths = list(map(str, images))
    small: dict[str, np.ndarray] = {}

    def image_hw(path: str) -> tuple[int, int]:
        (width, height), thumbnail = _measured(Path(path), thumbnail=thumbnails)
        if thumbnail is not None:
            small[path] = thumbnail
        return height, width

    scan = scan_labels(
        paths,
        [str(label_path(image)) for image in images],
        region_files(paths),
        class_count=class_count,
        image_hw=image_hw,
        cache=None,
        row_length=row_length,
        title=f"reading {split}",
    )
    used = [images[index] for index in scan.images]
    sizes_wh = scan.shapes_hw[:, ::-1].astype(np.float64)
    rows, image_of = _joined([labels.rows for labels in scan.labels], columns=5)
    regions, regions_of = _joined(scan.regions, columns=4)
    return SplitScan(
        split=split,
        images=used,
        left_out=len(paths) - len(used),
        sizes_wh=sizes_wh,
        without_labels=[image for image in used if not label_path(image).is_file()],
        image_of=image_of,
        classes=rows[:, 0].astype(np.int64),
        boxes_xyxy=_corners(rows[:, 1:], sizes_wh[image_of]),
        row_numbers=np.array(
            [number for labels in scan.labels for number in labels.row_numbers], dtype=np.int64
        ),
        regions_of=regions_of,
        regions_xyxy=_corners(regions, sizes_wh[regions_of]),
        problems=scan.problems,
        repeated=scan.notes,
        thumbnails=np.array([small[str(image)] for image in used], dtype=np.uint8).reshape(
            -1, THUMBNAIL_SIDE, THUMBNAIL_SIDE
        )
        if thumbnails
        else None,
    )


def _measured(image: Path, *, thumbnail: bool) -> tuple[tuple[int, int], np.ndarray | None]:
    """Return an image's width and height, and its thumbnail if asked for.

    Raises:
        SourceError: training cannot read it either.
    """
    try:
        size_wh = image_wh(image)
        return size_wh, read_thumbnail(image, size_wh) if thumbnail else None
    except ImageHeaderError:  # a format that only training's reader knows, or a fault that it names
        pixels = read_training_image(image)
        grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        return (pixels.shape[1], pixels.shape[0]), _shrunk(grey) if thumbnail else None


def read_thumbnail(image: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """Return (32, 32) uint8, the image in grey.

    Raises:
        ImageHeaderError: it cannot be decoded.
    """
    # JPEGs are decoded at a fraction of their size, which is far quicker and as good for this.
    factor = next(
        factor for factor in _REDUCED if factor == 1 or min(size_wh) >= 4 * factor * THUMBNAIL_SIDE
    )
    try:
        grey = cv2.imdecode(np.fromfile(image, dtype=np.uint8), _REDUCED[factor])
    except (OSError, cv2.error) as error:
        raise ImageHeaderError(f"cannot be decoded: {error}") from error
    if grey is None:
        raise ImageHeaderError("cannot be decoded")
    return _shrunk(grey)


def _shrunk(grey: np.ndarray) -> np.ndarray:
    return cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)


def _joined(pieces: Sequence[np.ndarray], *, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces as one float64 array, and the piece that each row comes from."""
    joined = np.concatenate([np.zeros((0, columns)), *pieces])
    return joined, np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])


def _corners(shares_xywh: np.ndarray, sizes_wh: np.ndarray) -> np.ndarray:
    """Return corners in pixels for centres and sides as shares of images of the given sizes."""
    halves = shares_xywh[:, 2:] / 2
    corners = np.column_stack([shares_xywh[:, :2] - halves, shares_xywh[:, :2] + halves])
    return corners * np.tile(sizes_wh, 2)
