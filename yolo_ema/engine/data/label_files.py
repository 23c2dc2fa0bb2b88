"""Reads one label file, or one file of ignored regions, row by row: the one reader for training,
validation and inspection.

A row that is wrong is named and left out. A file none of whose rows can be read is an error, since
its image would otherwise teach that its objects are background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.engine.data.split_files import decoded_text
from yolo_ema.errors import AnnotationError

_TOLERANCE = 0.01
"""How far outside 0 to 1 a coordinate may lie, as in Ultralytics; the transforms clip it."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in a dataset that was left out.

    Attributes:
        file: where it is.
        row: counted from 1; 0 means the whole file.
        text: what is wrong.
        kind: the same in a few words that many problems share, to count them by.
    """

    file: str
    row: int
    text: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.file}{f', row {self.row}' if self.row else ''}: {self.text}"


@dataclasses.dataclass
class ImageLabels:
    """Labels of one image, as shares of it: ``rows`` (N, 5) class x_center y_center w h;
    ``polygons`` N of (P, 2), or none; ``row_numbers`` N rows of the file, counted from 1, or none
    where the labels are remembered ones.
    """

    rows: np.ndarray
    polygons: list[np.ndarray] = dataclasses.field(default_factory=list)
    row_numbers: list[int] = dataclasses.field(default_factory=list)


def label_row_length(data: Mapping[str, Any]) -> int:
    """Return how many numbers a row of a dataset's label files has: 5, or more with keypoints."""
    count, numbers_each = data.get("kpt_shape") or (0, 0)
    return 5 + count * numbers_each


def read_label_file(
    file: str | Path,
    *,
    class_count: int | None,
    problems: list[Problem],
    notes: list[Problem],
    row_length: int = 5,
) -> ImageLabels:
    """Read one label file; wrong rows are named in ``problems`` and left out, repeated ones in
    ``notes``.

    A row is ``class x_center y_center w h``, or ``class`` and the points of a polygon, as shares of
    the image, separated by spaces or by commas. Coordinates up to 1 % outside are accepted, as by
    Ultralytics. Polygons are kept where every row is one.

    Args:
        file: text in UTF-8 or UTF-16.
        class_count: classes are 0 to ``class_count - 1``; None accepts every class.
        problems: where wrong rows are named.
        notes: where repeated rows are named.
        row_length: see `label_row_length`; the keypoints of such a row are cut off.

    Raises:
        AnnotationError: the file is not text, or none of its rows can be read.
    """
    lines = _numbered_words(file)
    if row_length > 5:
        lines = [(row, words[:5] if len(words) == row_length else words) for row, words in lines]
    rows: list[np.ndarray] = []
    polygons: list[np.ndarray] = []
    row_numbers: list[int] = []
    wrong_rows: list[Problem] = []
    table = _table_of_sound_boxes(lines, class_count)
    if table is not None:
        rows, row_numbers, lines = list(table), [row for row, _ in lines], []
    for row, words in lines:
        values = _as_numbers(words)
        if values is None:
            wrong_rows.append(_not_numbers(file, row, words))
            continue
        polygon = values[1:].reshape(-1, 2) if len(values) > 6 and len(values) % 2 else None
        box = values if polygon is None else np.concatenate((values[:1], _around(polygon)))
        if fault := _fault(values, box, class_count):
            wrong_rows.append(Problem(str(file), row, *fault))
            continue
        rows.append(box)
        row_numbers.append(row)
        if polygon is not None:
            polygons.append(polygon)
    _keep_or_raise(file, len(rows), wrong_rows, problems)
    if len(polygons) != len(rows):
        polygons = []
    stacked = np.array(rows, dtype=np.float32).reshape(-1, 5)
    first = _first_of_equals(stacked, polygons)
    if repeated := sorted(set(range(len(rows))) - set(first.tolist())):
        more = f", as do {len(repeated) - 1} more" if len(repeated) > 1 else ""
        notes.append(
            Problem(
                str(file),
                row_numbers[repeated[0]],
                f"repeats an earlier row{more}",
                "repeated row",
            )
        )
    return ImageLabels(
        stacked[first],
        [polygons[index] for index in first] if polygons else [],
        [row_numbers[index] for index in first],
    )


def read_region_file(file: str | Path, *, problems: list[Problem]) -> np.ndarray:
    """Read a file of ignored regions, rows of ``x_center y_center w h`` as shares of the image,
    into (R, 4) float32.

    Raises:
        AnnotationError: the file is not text, or none of its rows can be read.
    """
    regions = []
    wrong_rows: list[Problem] = []
    for row, words in _numbered_words(file):
        values = _as_numbers(words)
        if values is None:
            wrong_rows.append(_not_numbers(file, row, words))
            continue
        box = np.concatenate((np.zeros(1, dtype=np.float32), values))
        if len(values) != 4:
            text = f"{len(values)} numbers; expected 4: x_center y_center w h"
            wrong_rows.append(Problem(str(file), row, text, "wrong number of columns"))
        elif fault := _fault(box, box, None):
            wrong_rows.append(Problem(str(file), row, *fault))
        else:
            regions.append(values)
    _keep_or_raise(file, len(regions), wrong_rows, problems)
    return np.array(regions, dtype=np.float32).reshape(-1, 4)


def _keep_or_raise(
    file: str | Path, readable: int, wrong_rows: list[Problem], problems: list[Problem]
) -> None:
    if wrong_rows and not readable:
        first = wrong_rows[0]
        raise AnnotationError(
            f"{file}: none of its {len(wrong_rows)} rows can be read; row {first.row}: {first.text}"
        )
    problems += wrong_rows


def _numbered_words(file: str | Path) -> list[tuple[int, list[str]]]:
    try:
        text = decoded_text(Path(file))
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{file} is not text: {error}") from error
    return [
        (row, words)
        for row, line in enumerate(text.splitlines(), start=1)
        if (words := _words(line))
    ]


def _words(line: str) -> list[str]:
    """Split a row at white space, or at commas where each of its numbers but the last has one."""
    words = line.split()
    if "," in line and all(word.endswith(",") for word in words[:-1]):
        return line.replace(",", " ").split()
    return words


def _table_of_sound_boxes(
    lines: list[tuple[int, list[str]]], class_count: int | None
) -> np.ndarray | None:
    """Return all rows as (N, 5) where every one is a sound box, as is usual: hundreds of thousands
    of rows need a quick way.
    """
    if any(len(words) != 5 for _, words in lines):
        return None
    table = _as_numbers([word for _, words in lines for word in words])
    if table is None:
        return None
    table = table.reshape(-1, 5)
    classes, shares = table[:, 0], table[:, 1:]
    sound = (
        (classes % 1 == 0)
        & (classes >= 0)
        & (classes < (np.inf if class_count is None else class_count))
        & (shares <= 1 + _TOLERANCE).all(1)
        & (shares >= -_TOLERANCE).all(1)
        & (shares[:, 2:] > 0).all(1)
    )
    return table if sound.all() else None


def _not_numbers(file: str | Path, row: int, words: list[str]) -> Problem:
    shown = " ".join(words)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    return Problem(str(file), row, f"{shown!r} is not all numbers", "not numbers")


def _as_numbers(words: list[str]) -> np.ndarray | None:
    joined = "".join(words)
    if not joined.isascii() or "_" in joined:  # "１" and "1_0" are numbers to Python alone
        return None
    try:
        with np.errstate(over="ignore"):  # too large a number becomes infinite, which is refused
            return np.array(words, dtype=np.float32)
    except ValueError:
        return None


def _fault(values: np.ndarray, box: np.ndarray, class_count: int | None) -> tuple[str, str] | None:
    """Return what is wrong with a row of a label file, and the kind of fault; None where nothing
    is.
    """
    if len(box) != 5:
        text = (
            f"{len(values)} numbers; expected 5 (class x_center y_center w h), or a class and a "
            f"polygon of at least 3 points"
        )
        extra = "; a sixth, such as a confidence, is not part of a label" * (len(values) == 6)
        return text + extra, "wrong number of columns"
    shares = values[1:]
    if not np.isfinite(values).all():
        return "holds a number that is not finite", "number not finite"
    if box[0] % 1 or box[0] < 0:
        return f"the class is {box[0]:g}; expected a whole number from 0", "class out of range"
    if class_count is not None and box[0] >= class_count:
        return f"the class is {box[0]:g}; expected 0 to {class_count - 1}", "class out of range"
    if len(values) == 5 and (box[3:] <= 0).any():
        return f"width {box[3]:g} and height {box[4]:g}; both must be above 0", "no area"
    if shares.max() > 1 + _TOLERANCE or shares.min() < -_TOLERANCE:
        text = (
            f"the coordinate {shares[np.abs(shares - 0.5).argmax()]:g} is outside 0 to 1 "
            f"(shares of the image, not pixels)"
        )
        return text, "outside the image"
    if (box[3:] <= 0).any():
        return f"width {box[3]:g} and height {box[4]:g}; both must be above 0", "no area"
    return None


def _around(polygon: np.ndarray) -> np.ndarray:
    low, high = polygon.min(0), polygon.max(0)
    return np.concatenate(((low + high) / 2, high - low))


def _first_of_equals(rows: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    """Return the places of the first of equal rows, in order; rows of polygons are equal where the
    polygons are.
    """
    if not polygons:
        return np.sort(np.unique(rows, axis=0, return_index=True)[1])
    seen: dict[bytes, int] = {}
    for index, (row, polygon) in enumerate(zip(rows, polygons, strict=True)):
        seen.setdefault(row[:1].tobytes() + polygon.tobytes(), index)
    return np.array(sorted(seen.values()), dtype=np.int64)
