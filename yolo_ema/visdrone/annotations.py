"""VisDrone2019-DET's text files: annotations with eight integers per row, results with a score in
the fifth place.

An annotation row is ``left,top,width,height,score,category,truncation,occlusion`` in whole pixels,
0-based. Category 0 is an ignored region, 1 to 10 are `VISDRONE_CLASSES` in their order, 11 is
"others". The score is 0 exactly for the categories 0 and 11. Some rows end in a comma.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_ema.constants import IGNORED, OTHERS, VISDRONE_CLASSES
from yolo_ema.errors import AnnotationError, DataError, DataNotFoundError
from yolo_ema.io.text_files import decode_text

__all__ = [
    "UNREADABLE",
    "Annotations",
    "Anomaly",
    "parse_annotations",
    "parse_results",
    "read_annotations",
    "read_results",
]

FIELDS = ("left", "top", "width", "height", "score", "category", "truncation", "occlusion")

UNREADABLE = frozenset({"field-count", "not-integer", "out-of-range", "unknown-category"})
"""Kinds of anomaly for which a row cannot be read."""

_LOST_ROWS = UNREADABLE | {"no-area", "outside-image", "stray-annotation", "bad-box", "bad-flag"}
_LOST_IMAGES = frozenset(
    {
        *("missing-annotation", "unreadable-annotations", "missing-image", "unreadable-image"),
        *("same-name", "sub-folder", "bad-name", "bad-entry", "repeated-id", "size-mismatch"),
    }
)

# pixels; beyond it a number is a slip, and sums of two would leave the range of smaller integers
_LARGEST = 10_000_000

_WHOLE = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """Something in a dataset that does not follow the format.

    Attributes:
        file: path of the file, or its name inside an archive.
        row: row in that file, counted from 1; None for the whole file.
        kind: one word for counting, such as ``field-count`` or ``no-area``.
        message: what was found, what was expected, and what was done about it.
        count: how many rows or images it stands for.
    """

    file: str
    row: int | None
    kind: str
    message: str
    count: int = 1

    @property
    def lost(self) -> str | None:
        """What is left out for it: ``image``, ``annotation``, or None for nothing."""
        if self.kind in _LOST_IMAGES:
            return "image"
        return "annotation" if self.kind in _LOST_ROWS else None

    def __str__(self) -> str:
        location = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{location}: {self.message}"


@dataclasses.dataclass(frozen=True, eq=False)
class Annotations:
    """The readable rows of one annotation file, as columns in file order.

    Attributes:
        boxes_ltwh: (N, 4) int64, left, top, width and height in pixels, as written: neither clipped
            nor checked for area.
        score: (N,) int64, 1 where the box counts in the evaluation, 0 where it doesn't.
        category: (N,) int64, 0 to 11.
        truncation: (N,) int64, 0 none, 1 partly outside the frame.
        occlusion: (N,) int64, 0 none, 1 partly, 2 heavily.
        lines: (N,) int64, each row's number in the file, counted from 1.
        anomalies: what was wrong, in the order of rows.
        trailing_commas: number of rows that end in a comma, which is harmless.
    """

    boxes_ltwh: np.ndarray
    score: np.ndarray
    category: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    lines: np.ndarray
    anomalies: tuple[Anomaly, ...]
    trailing_commas: int

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def rows(self) -> np.ndarray:
        """Return (N, 6) float64: left, top, width, height, score, category, as the protocols expect
        them.
        """
        return np.column_stack([self.boxes_ltwh, self.score, self.category]).astype(np.float64)


def read_annotations(path: str | Path) -> Annotations:
    """Read an annotation file.

    Rows with a wrong number of fields, anything but whole numbers (``12`` or ``12.0``), or an
    unknown category are left out. Rows without area and rows whose score does not fit their
    category are kept. Each is named in ``anomalies``. The text may be UTF-8, UTF-16 or Latin-1.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it cannot be read.

    Examples:
        >>> from yolo_ema import read_annotations
        >>> annotations = read_annotations("a.txt")
        >>> annotations.category.tolist()
        [4]
    """
    return parse_annotations(_content(path), str(path))


def parse_annotations(content: bytes, file: str) -> Annotations:
    """Parse the bytes of an annotation file; ``file`` is the name used in anomalies. See
    `read_annotations`.
    """
    rows: list[list[int]] = []
    lines: list[int] = []
    anomalies: list[Anomaly] = []
    trailing_commas = 0
    for line, text in _rows(content):
        fields = text.split(",")
        if len(fields) == len(FIELDS) + 1 and not fields[-1].strip():
            fields.pop()
            trailing_commas += 1
        try:
            row = _parse_row(fields)
        except _RowError as error:
            anomalies.append(Anomaly(file, line, error.kind, f"{error}; the row is left out"))
            continue
        rows.append(row)
        lines.append(line)
        if row[2] <= 0 or row[3] <= 0 or row[4] != (0 < row[5] < OTHERS):
            anomalies.extend(_oddities(row, file, line))
    table = np.array(rows, dtype=np.int64).reshape(-1, len(FIELDS))
    return Annotations(
        boxes_ltwh=table[:, :4],
        score=table[:, 4],
        category=table[:, 5],
        truncation=table[:, 6],
        occlusion=table[:, 7],
        lines=np.array(lines, dtype=np.int64),
        anomalies=tuple(anomalies),
        trailing_commas=trailing_commas,
    )


class _RowError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _parse_row(fields: Sequence[str]) -> list[int]:
    if len(fields) != len(FIELDS):
        hint = "; 10 is the format of VisDrone's videos" if len(fields) == 10 else ""
        raise _RowError(
            "field-count",
            f"{_counted(len(fields))}, expected {len(FIELDS)} ({','.join(FIELDS)}){hint}",
        )
    row = []
    for name, field in zip(FIELDS, fields, strict=True):
        plain = field.strip()
        if plain.isdigit() and plain.isascii() and len(plain) < 20:  # almost always; `int` alone
            row.append(int(plain))  # would take digits of any script, and 1_000
            continue
        match = _WHOLE.fullmatch(plain)
        if match is None or len(match[1]) > 1000:
            raise _RowError("not-integer", f"{name} is {_quoted(field)}, expected a whole number")
        row.append(int(match[1]))
    if max(row) > _LARGEST or min(row) < -_LARGEST:
        name, number = next(
            (name, number)
            for name, number in zip(FIELDS, row, strict=True)
            if abs(number) > _LARGEST
        )
        raise _RowError("out-of-range", f"{name} is {number}, beyond anything an image can hold")
    if not IGNORED <= row[5] <= OTHERS:
        raise _RowError("unknown-category", f"category is {row[5]}, expected {IGNORED} to {OTHERS}")
    return row


def _counted(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"


def _quoted(text: str) -> str:
    """Return a piece of a user's file for a message: short, and without control characters."""
    return repr(text if len(text) <= 40 else text[:37] + "…")


def _oddities(row: Sequence[int], file: str, line: int) -> list[Anomaly]:
    """Return what is odd about a row that could be read."""
    anomalies = []
    _, _, width, height, score, category, _, _ = row
    if width <= 0 or height <= 0:
        message = (
            f"the box of category {category} is {width}x{height} pixels, it has no area; it "
            f"is dropped"
        )
        anomalies.append(Anomaly(file, line, "no-area", message))
    expected = int(IGNORED < category < OTHERS)
    if score != expected:
        anomalies.append(
            Anomaly(
                file,
                line,
                "score-mismatch",
                f"score is {score}, expected {expected} for category {category}",
            )
        )
    return anomalies


def read_results(path: str | Path) -> np.ndarray:
    """Read a result file: rows of ``left,top,width,height,score,category`` and, unused, two more
    fields.

    Args:
        path: a text file; an empty one means no detections.

    Returns:
        (M, 6) float64 in file order: left, top, width, height in pixels, score, category.
        Categories 1 to 10 are `VISDRONE_CLASSES`; 0 and 11 are kept, since a row counts among the
        first detections of an image whatever its category.

    Raises:
        AnnotationError: a row has fewer than six fields or more than eight, a field that is not a
            finite number, a category that is not a whole number from 0 to 11; the message names
            file and row.
        DataNotFoundError: there is no such file.
        DataError: it cannot be read.
    """
    return parse_results(_content(path), str(path))


def parse_results(content: bytes, file: str) -> np.ndarray:
    """Parse the bytes of a result file; ``file`` is the name to use in errors. See
    `read_results`.
    """
    rows = list(_rows(content))
    if not rows:
        return np.zeros((0, 6))
    commas = [text.count(",") for _, text in rows]
    if content.isascii() and min(commas) >= 5 and max(commas) <= 7:
        try:
            table = np.loadtxt(
                [text for _, text in rows], delimiter=",", usecols=range(6), comments=None, ndmin=2
            )
        except ValueError:
            pass  # some row is wrong; the careful path below finds out which
        else:
            category = table[:, 5]
            if (
                np.isfinite(table).all()
                and (
                    (category >= IGNORED) & (category <= OTHERS) & (category == np.floor(category))
                ).all()
            ):
                return table
    return np.array([_parse_result(text, file, line) for line, text in rows])


def _parse_result(text: str, file: str, line: int) -> list[float]:
    fields = text.split(",")
    if not fields[-1].strip():
        fields.pop()
    if not 6 <= len(fields) <= 8:
        message = (
            f"{_counted(len(fields))}, expected 6 to 8 "
            f"(left,top,width,height,score,category "
            f"and two unused)"
        )
        raise AnnotationError(f"{file}, row {line}: {message}")
    row = []
    for name, field in zip(FIELDS, fields[:6], strict=False):
        try:
            value = float(field if field.isascii() and "_" not in field else "nan")
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise AnnotationError(
                f"{file}, row {line}: {name} is {_quoted(field)}, expected a finite number"
            )
        row.append(value)
    if row[5] not in range(IGNORED, OTHERS + 1):
        raise AnnotationError(
            f"{file}, row {line}: category is {_quoted(fields[5])}, expected a whole number, 1 "
            f"({VISDRONE_CLASSES[0]}) to 10"
        )
    return row


def _rows(content: bytes) -> list[tuple[int, str]]:
    """Return the rows that are not blank, with their numbers counted from 1."""
    text = decode_text(content).replace("\r\n", "\n").replace("\r", "\n")
    return [
        (line, row)
        for line, row in enumerate(text.split("\n"), start=1)
        if row and not row.isspace()
    ]


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataNotFoundError(
            f"{path} does not exist; expected a text file in VisDrone's format"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
