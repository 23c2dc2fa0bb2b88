"""The ground truth of a split's images, as both protocols take it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_ema.constants import IGNORED, VISDRONE_CLASSES
from yolo_ema.engine.data.label_files import Problem, read_label_file, read_region_file
from yolo_ema.engine.data.split_files import ignored_path, label_path
from yolo_ema.errors import AnnotationError
from yolo_ema.metrics.score import read_annotation_rows


def image_names(images: Sequence[Path]) -> list[str]:
    """Return a name for each image, all distinct: its stem, or its path below their common folder
    where two stems are equal; with the suffix only where it alone tells two images apart.
    """
    stems = [image.stem for image in images]
    if len(set(stems)) == len(stems):
        return stems
    common = Path(os.path.commonpath([image.parent for image in images]))
    whole = [image.relative_to(common) for image in images]
    shared = Counter(path.with_suffix("") for path in whole)
    return [
        (path if shared[path.with_suffix("")] > 1 else path.with_suffix("")).as_posix()
        for path in whole
    ]


def annotation_path(image: Path) -> Path | None:
    """Return where an image's VisDrone annotations lie, beside ``labels``; None where there are
    none.
    """
    head, images, tail = str(image.with_suffix(".txt")).rpartition(f"{os.sep}images{os.sep}")
    path = Path(f"{head}{os.sep}annotations{os.sep}{tail}")
    return path if images and path.is_file() else None


def read_ground_truth(
    image: Path, image_wh: tuple[int, int], class_names: Sequence[str], *, row_length: int = 5
) -> tuple[np.ndarray, str, list[str]]:
    """Read an image's ground truth.

    A dataset with VisDrone's classes and its annotations in place is scored by these, as the
    official toolkit does; any other by its labels, with its ignored regions where it has some.

    Args:
        image: the image; labels and annotations are found beside it.
        image_wh: its width and height in pixels.
        class_names: the dataset's classes.
        row_length: numbers in a row of the labels, see `label_row_length`.

    Returns:
        (N, 6) rows left, top, width, height in pixels, score, category (0 an ignored region,
        classes from 1); what they come from: ``annotations``, ``labels`` or ``nothing``; and one
        sentence, with file and row, for each row that cannot be read and is left out.

    Raises:
        AnnotationError: a file is not text, or none of its rows can be read.
    """
    if tuple(class_names) == VISDRONE_CLASSES and (annotations := annotation_path(image)):
        rows, unreadable = read_annotation_rows(annotations)
        if unreadable and not len(rows):
            raise AnnotationError(
                f"none of the {len(unreadable)} rows can be read; the first: {unreadable[0]}"
            )
        return rows, "annotations", unreadable
    labels, regions = label_path(image), ignored_path(image)
    problems: list[Problem] = []
    boxes, ignored = np.zeros((0, 5)), np.zeros((0, 4))
    if labels.is_file():
        boxes = read_label_file(
            labels,
            class_count=len(class_names),
            problems=problems,
            notes=[],
            row_length=row_length,
        ).rows
    if regions.is_file() and regions != labels:
        ignored = read_region_file(regions, problems=problems)
    objects = [_in_pixels(boxes[:, 1:], image_wh), np.ones(len(boxes)), boxes[:, 0] + 1]
    areas = [
        _in_pixels(ignored, image_wh),
        np.zeros(len(ignored)),
        np.full(len(ignored), IGNORED),
    ]
    rows = np.concatenate([np.column_stack(objects), np.column_stack(areas)])
    return rows, "labels" if labels.is_file() else "nothing", list(map(str, problems))


def _in_pixels(shares_xywh: np.ndarray, image_wh: tuple[int, int]) -> np.ndarray:
    """Return left, top, width, height in pixels for centers and sides as shares of the image."""
    shares = np.asarray(shares_xywh, dtype=np.float64)
    return np.column_stack([shares[:, :2] - shares[:, 2:] / 2, shares[:, 2:]]) * np.array(
        [*image_wh, *image_wh]
    )
