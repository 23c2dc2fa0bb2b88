"""Labels of a dataset in the YOLO layout: read row by row, checked against their images, and
remembered without pickle.

What is found once is kept as arrays in the user's cache folder, never beside the data, and read
back without unpickling: a data folder can carry neither code nor stale results, and may be
read-only. What is kept belongs to the paths, sizes and modification times of all images, labels and
ignored regions; anything else is scanned again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolo_ema.errors import AnnotationError, DataError
from yolo_ema.io.atomic_files import write_bytes

__all__ = ["ImageLabels", "Problem", "Scan", "read_label_file", "read_region_file", "scan_labels"]

_VERSION = "1"  # raise it when what is kept, or what is accepted, changes
_TOLERANCE = (
    0.01  # how far outside 0 to 1 a coordinate may lie, as in Ultralytics; transforms clip it
)
_SMALLEST_SIDE_PX = 10


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in a dataset that was left out. ``row`` is 1-based; 0 means the whole file."""

    file: str
    row: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}{f', row {self.row}' if self.row else ''}: {self.text}"


@dataclasses.dataclass
class ImageLabels:
    """Labels of one image, as shares of it: ``rows`` (N, 5) class x_center y_center w h;
    ``polygons`` N of (P, 2), or none.
    """

    rows: np.ndarray
    polygons: list[np.ndarray] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Scan:
    """What `scan_labels` found; lists have one entry per image that can be used.

    Attributes:
        images: the places, among the images given, of those that can be used.
        shapes_hw: (I, 2) height and width in pixels, upright.
        labels: the labels of each image.
        regions: (R, 4) x_center y_center w h of each image's ignored regions, as shares of the
            image.
        problems: rows and images that were left out.
        notes: what was put right without loss, as repeated rows.
        without_file: images that have no label file.
    """

    images: list[int]
    shapes_hw: np.ndarray
    labels: list[ImageLabels]
    regions: list[np.ndarray]
    problems: list[Problem]
    notes: list[Problem]
    without_file: int


@dataclasses.dataclass
class _Found:
    """What was found of one image; without a shape it can't be used."""

    shape_hw: tuple[int, int] | None = None
    labels: ImageLabels = dataclasses.field(
        default_factory=lambda: ImageLabels(np.zeros((0, 5), dtype=np.float32))
    )
    regions: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 4), dtype=np.float32)
    )
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[Problem] = dataclasses.field(default_factory=list)
    without_file: bool = False


def scan_labels(
    images: Sequence[str],
    label_files: Sequence[str],
    region_files: Sequence[str | None],
    *,
    class_count: int | None,
    image_hw: Callable[[str], tuple[int, int]],
    cache: Path,
    row_length: int = 5,
    title: str = "labels",
) -> Scan:
    """Read and check all labels and images of a split, or recall it where nothing has changed
    since.

    Args:
        images: image files.
        label_files: the label file of each, which may not exist.
        region_files: the file of ignored regions of each, which may not exist.
        class_count: classes are 0 to ``class_count - 1``; None accepts every class.
        image_hw: returns an image's height and width once it has decoded it; raises `OSError` or
            `ValueError` where it cannot.
        cache: the folder for what is remembered.
        row_length: further numbers of a row are cut off where it has exactly this many (pose labels
            for a box task).
        title: names the split on the progress bar.
    """
    files = (images, label_files, region_files)
    fingerprint = _fingerprint([_VERSION, class_count, row_length, _SMALLEST_SIDE_PX], files)
    kept = (
        cache
        / f"{hashlib.sha256(chr(0).join(images).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    )
    if (scan := _recall(kept, fingerprint)) is not None:
        return scan

    def one(place: int) -> _Found:
        found = _Found()
        try:
            found.shape_hw = _checked_hw(image_hw(images[place]))
            _read_into(
                found,
                label_files[place],
                region_files[place],
                class_count=class_count,
                row_length=row_length,
            )
        except (OSError, ValueError) as error:
            found.shape_hw = None
            found.problems.append(Problem(images[place], 0, f"left out: {error}"))
        return found

    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        places = pool.map(one, range(len(images)))
        results = list(
            tqdm(
                places, total=len(images), desc=title, unit="image", disable=not sys.stderr.isatty()
            )
        )
    used = [(place, found) for place, found in enumerate(results) if found.shape_hw is not None]
    scan = Scan(
        images=[place for place, _ in used],
        shapes_hw=np.array([found.shape_hw for _, found in used], dtype=np.int64).reshape(-1, 2),
        labels=[found.labels for _, found in used],
        regions=[found.regions for _, found in used],
        problems=[problem for found in results for problem in found.problems],
        notes=[note for found in results for note in found.notes],
        without_file=sum(found.without_file for _, found in used),
    )
    try:
        _remember(kept, fingerprint, scan)
    except OSError as error:
        scan.notes.append(
            Problem(
                str(kept),
                0,
                f"cannot be written, so the next start reads all labels again: {error}",
            )
        )
    return scan


def _checked_hw(shape_hw: tuple[int, int]) -> tuple[int, int]:
    if min(shape_hw) < _SMALLEST_SIDE_PX:
        raise DataError(
            f"{shape_hw[1]}x{shape_hw[0]} pixels; expected at least {_SMALLEST_SIDE_PX} a side"
        )
    return shape_hw


def _read_into(
    found: _Found,
    label_file: str,
    region_file: str | None,
    *,
    class_count: int | None,
    row_length: int,
) -> None:
    """Read the label file and the file of regions of one image, where they exist."""
    if Path(label_file).is_file():
        found.labels = read_label_file(
            label_file,
            class_count=class_count,
            row_length=row_length,
            problems=found.problems,
            notes=found.notes,
        )
    else:
        found.without_file = True
    if region_file is not None and Path(region_file).is_file():
        found.regions = read_region_file(region_file, problems=found.problems)


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
    the image. Coordinates up to 1 % outside are accepted, as by Ultralytics. Polygons are kept
    where every row is one.

    Raises:
        AnnotationError: the file is no text.
    """
    lines = _numbered_words(file)
    if row_length > 5:
        lines = [(row, words[:5] if len(words) == row_length else words) for row, words in lines]
    rows: list[np.ndarray] = []
    polygons: list[np.ndarray] = []
    numbers: list[int] = []
    sound = _table_of_sound_boxes(lines, class_count)
    if sound is not None:
        rows, numbers, lines = list(sound), [row for row, _ in lines], []
    for row, values in _numbers(file, lines, problems):
        polygon = values[1:].reshape(-1, 2) if len(values) > 6 and len(values) % 2 else None
        box = values if polygon is None else np.concatenate((values[:1], _around(polygon)))
        if text := _wrong(values, box, class_count):
            problems.append(Problem(str(file), row, text))
            continue
        rows.append(box)
        numbers.append(row)
        if polygon is not None:
            polygons.append(polygon)
    if len(polygons) != len(rows):
        polygons = []
    stacked = np.array(rows, dtype=np.float32).reshape(-1, 5)
    first = _first_of_equals(stacked, polygons)
    if len(first) < len(rows):
        repeated = sorted(set(range(len(rows))) - set(first.tolist()))
        text = (
            f"repeats an earlier row, as do {len(repeated) - 1} more"
            if len(repeated) > 1
            else "repeats an earlier row"
        )
        notes.append(Problem(str(file), numbers[repeated[0]], text))
    return ImageLabels(stacked[first], [polygons[index] for index in first] if polygons else [])


def read_region_file(file: str | Path, *, problems: list[Problem]) -> np.ndarray:
    """Read a file of ignored regions, rows of ``x_center y_center w h`` as shares of the image,
    into (R, 4) float32.

    Raises:
        AnnotationError: the file is no text.
    """
    regions = []
    for row, values in _numbers(file, _numbered_words(file), problems):
        box = np.concatenate((np.zeros(1, dtype=np.float32), values))
        if text := (
            f"{len(values)} numbers; expected 4: x_center y_center w h"
            if len(values) != 4
            else _wrong(box, box, None)
        ):
            problems.append(Problem(str(file), row, text))
        else:
            regions.append(values)
    return np.array(regions, dtype=np.float32).reshape(-1, 4)


def _numbered_words(file: str | Path) -> list[tuple[int, list[str]]]:
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{file} is no text: {error}") from error
    return [
        (row, words)
        for row, line in enumerate(text.splitlines(), start=1)
        if (words := line.split())
    ]


def _table_of_sound_boxes(
    lines: list[tuple[int, list[str]]], class_count: int | None
) -> np.ndarray | None:
    """Return all rows as (N, 5) where every one is a sound box, as is usual: hundreds of thousands
    of rows want a quick way.
    """
    if any(len(words) != 5 for _, words in lines):
        return None
    table = _as_numbers([words for _, words in lines])
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


def _numbers(
    file: str | Path, lines: list[tuple[int, list[str]]], problems: list[Problem]
) -> list[tuple[int, np.ndarray]]:
    """Return the rows that are numbers as float32; the others are named in ``problems``."""
    rows = []
    for row, words in lines:
        values = _as_numbers(words)
        if values is None:
            problems.append(Problem(str(file), row, f"{' '.join(words)!r} is not all numbers"))
        else:
            rows.append((row, values))
    return rows


def _as_numbers(words: list[str] | list[list[str]]) -> np.ndarray | None:
    try:
        with np.errstate(over="ignore"):  # too large a number becomes infinite, which is refused
            return np.array(words, dtype=np.float32)
    except ValueError:
        return None


def _wrong(values: np.ndarray, box: np.ndarray, class_count: int | None) -> str:
    """Say what is wrong with a row of a label file; an empty text where nothing is."""
    if len(box) != 5:
        return (
            f"{len(values)} numbers; expected 5 (class x_center y_center w h), or a class and "
            f"a "
            f"polygon of at least 3 points"
        )
    shares = values[1:]
    if not np.isfinite(values).all():
        return "holds a number that is not finite"
    if box[0] % 1 or box[0] < 0:
        return f"the class is {box[0]:g}; expected a whole number from 0"
    if class_count is not None and box[0] >= class_count:
        return f"the class is {box[0]:g}; expected 0 to {class_count - 1}"
    if shares.max() > 1 + _TOLERANCE or shares.min() < -_TOLERANCE:
        return (
            f"the coordinate {shares[np.abs(shares - 0.5).argmax()]:g} is outside 0 to 1 "
            f"(shares of the image, not pixels)"
        )
    if (box[3:] <= 0).any():
        return f"width {box[3]:g} and height {box[4]:g}; both must be above 0"
    return ""


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
    for place, (row, polygon) in enumerate(zip(rows, polygons, strict=True)):
        seen.setdefault(row[:1].tobytes() + polygon.tobytes(), place)
    return np.array(sorted(seen.values()), dtype=np.int64)


def _fingerprint(settings: Sequence[object], files: Sequence[Sequence[str | None]]) -> str:
    digest = hashlib.sha256(repr(settings).encode())
    for group in files:
        for file in group:
            digest.update(os.fsencode(file or "") + b"\0")
            try:
                stat = os.stat(file or "")  # noqa: PTH116 - three of them an image, ten thousands of images
                digest.update(f"{stat.st_size}:{stat.st_mtime_ns}\0".encode())
            except OSError:
                digest.update(b"-\0")
    return digest.hexdigest()


def _remember(kept: Path, fingerprint: str, scan: Scan) -> None:
    """Write a scan as plain arrays. Raises `OSError` where the cache folder can't be written."""
    polygons = [polygon for labels in scan.labels for polygon in labels.polygons]
    texts = {
        "fingerprint": fingerprint,
        "problems": [dataclasses.astuple(one) for one in scan.problems],
        "notes": [dataclasses.astuple(one) for one in scan.notes],
        "without_file": scan.without_file,
    }
    content = io.BytesIO()
    np.savez(
        content,
        texts=np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8),
        images=np.array(scan.images, dtype=np.int64),
        shapes_hw=scan.shapes_hw,
        rows=_joined([labels.rows for labels in scan.labels], 5),
        rows_of=np.array([len(labels.rows) for labels in scan.labels], dtype=np.int64),
        polygons_of=np.array([len(labels.polygons) for labels in scan.labels], dtype=np.int64),
        points=_joined(polygons, 2),
        points_of=np.array([len(polygon) for polygon in polygons], dtype=np.int64),
        regions=_joined(scan.regions, 4),
        regions_of=np.array([len(regions) for regions in scan.regions], dtype=np.int64),
    )
    write_bytes(kept, content.getvalue())


def _recall(kept: Path, fingerprint: str) -> Scan | None:
    """Return the scan of that fingerprint; None where there is none, or what is there is not what
    `_remember` writes.
    """
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            texts = json.loads(arrays["texts"].tobytes())
            if texts["fingerprint"] != fingerprint:
                return None
            polygons = _split(arrays["points"], arrays["points_of"])
            ends = np.concatenate(([0], np.cumsum(arrays["polygons_of"])))
            rows = _split(arrays["rows"], arrays["rows_of"])
            return Scan(
                images=arrays["images"].tolist(),
                shapes_hw=arrays["shapes_hw"],
                labels=[
                    ImageLabels(one, polygons[ends[i] : ends[i + 1]]) for i, one in enumerate(rows)
                ],
                regions=_split(arrays["regions"], arrays["regions_of"]),
                problems=[Problem(*one) for one in texts["problems"]],
                notes=[Problem(*one) for one in texts["notes"]],
                without_file=texts["without_file"],
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _joined(arrays: Sequence[np.ndarray], columns: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, columns), dtype=np.float32), *arrays])


def _split(joined: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(joined, np.cumsum(lengths)[:-1]) if len(lengths) else []
