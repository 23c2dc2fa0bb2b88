"""Reads and checks all images and labels of a split, and remembers what was found without pickle.

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
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolo_ema.engine.data.label_files import (
    ImageLabels,
    Problem,
    read_label_file,
    read_region_file,
)
from yolo_ema.errors import AnnotationError, DataError
from yolo_ema.io.atomic_files import write_bytes

_VERSION = "2"  # raise it when what is kept, or what is accepted, changes
_SMALLEST_SIDE_PX = 10

MOST_LOGGED = 20
"""Problems that a warning names; the rest are counted."""


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
        notes: what was corrected without loss, such as repeated rows.
        without_file: images that have no label file.
    """

    images: list[int]
    shapes_hw: np.ndarray
    labels: list[ImageLabels]
    regions: list[np.ndarray]
    problems: list[Problem]
    notes: list[Problem]
    without_file: int

    def summary(self) -> str:
        """Return the counts in a line."""
        boxes = sum(len(labels.rows) for labels in self.labels)
        regions = sum(map(len, self.regions))
        return (
            f"{len(self.images)} images, {boxes} boxes, {regions} ignored regions, "
            f"{self.without_file} without a label file"
        )

    def warnings(self) -> list[str]:
        """Return what was left out and what was corrected, `MOST_LOGGED` of each by name."""
        texts = []
        for problems, outcome in ((self.problems, "left out"), (self.notes, "corrected")):
            if problems:
                lines = [f"{len(problems)} {outcome}:", *map(str, problems[:MOST_LOGGED])]
                if len(problems) > MOST_LOGGED:
                    lines.append(f"and {len(problems) - MOST_LOGGED} more")
                texts.append("\n  ".join(lines))
        return texts


@dataclasses.dataclass
class _ImageScan:
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
    cache: Path | None,
    row_length: int = 5,
    title: str = "labels",
) -> Scan:
    """Read and check all labels and images of a split, or recall them where nothing has changed.

    Args:
        images: image files.
        label_files: the label file of each, which may not exist.
        region_files: the file of ignored regions of each, which may not exist.
        class_count: classes are 0 to ``class_count - 1``; None accepts every class.
        image_hw: returns an image's height and width once it has decoded it; raises `OSError` or
            `ValueError` where it cannot.
        cache: the folder for what is remembered; None remembers nothing.
        row_length: see `yolo_ema.engine.data.label_files.label_row_length`.
        title: names the split on the progress bar.
    """
    files = (images, label_files, region_files)
    fingerprint = _fingerprint([_VERSION, class_count, row_length, _SMALLEST_SIDE_PX], files)
    name = hashlib.sha256(chr(0).join(images).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    kept = cache / f"{name}.npz" if cache else None
    if kept and (scan := _recall(kept, fingerprint)) is not None:
        return scan

    def scan_image(index: int) -> _ImageScan:
        result = _ImageScan()
        try:
            result.shape_hw = _checked_hw(image_hw(images[index]))
            _read_labels(result, label_files[index], region_files[index], class_count, row_length)
        except (OSError, ValueError) as error:
            result.shape_hw = None
            kind = _kind_of_fault(images[index], error)
            result.problems.append(Problem(images[index], 0, f"left out: {error}", kind))
        return result

    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        results = list(
            tqdm(
                pool.map(scan_image, range(len(images))),
                total=len(images),
                desc=title,
                unit="image",
                disable=None,
            )
        )
    usable = [(index, result) for index, result in enumerate(results) if result.shape_hw]
    scan = Scan(
        images=[index for index, _ in usable],
        shapes_hw=np.array([result.shape_hw for _, result in usable], np.int64).reshape(-1, 2),
        labels=[result.labels for _, result in usable],
        regions=[result.regions for _, result in usable],
        problems=[problem for result in results for problem in result.problems],
        notes=[note for result in results for note in result.notes],
        without_file=sum(result.without_file for _, result in usable),
    )
    try:
        if kept:
            _remember(kept, fingerprint, scan)
    except OSError as error:
        text = f"cannot be written, so the next start reads all labels again: {error}"
        scan.notes.append(Problem(str(kept), 0, text, "cache not written"))
    return scan


def _checked_hw(shape_hw: tuple[int, int]) -> tuple[int, int]:
    if min(shape_hw) < _SMALLEST_SIDE_PX:
        raise DataError(
            f"{shape_hw[1]}x{shape_hw[0]} pixels; expected at least {_SMALLEST_SIDE_PX} a side"
        )
    return shape_hw


def _kind_of_fault(image: str, error: Exception) -> str:
    if isinstance(error, AnnotationError):
        return "unreadable labels"
    if isinstance(error, DataError):
        return "image too small"
    return "unreadable image" if os.path.isfile(image) else "missing image"  # noqa: PTH113


def _read_labels(
    result: _ImageScan,
    label_file: str,
    region_file: str | None,
    class_count: int | None,
    row_length: int,
) -> None:
    """Read the label file and the file of regions of one image, where they exist."""
    if Path(label_file).is_file():
        result.labels = read_label_file(
            label_file,
            class_count=class_count,
            row_length=row_length,
            problems=result.problems,
            notes=result.notes,
        )
    else:
        result.without_file = True
    if region_file is not None and Path(region_file).is_file():
        result.regions = read_region_file(region_file, problems=result.problems)


def _fingerprint(settings: Sequence[object], files: Sequence[Sequence[str | None]]) -> str:
    digest = hashlib.sha256(repr(settings).encode())
    for group in files:
        for file in group:
            digest.update(os.fsencode(file or "") + b"\0")
            try:
                stat = os.stat(file or "")  # noqa: PTH116 - three per image, ten thousands of images
                digest.update(f"{stat.st_size}:{stat.st_mtime_ns}\0".encode())
            except OSError:
                digest.update(b"-\0")
    return digest.hexdigest()


def _remember(kept: Path, fingerprint: str, scan: Scan) -> None:
    """Write a scan as plain arrays. Raises `OSError` where the cache folder can't be written."""
    polygons = [polygon for labels in scan.labels for polygon in labels.polygons]
    texts = {
        "fingerprint": fingerprint,
        "problems": [dataclasses.astuple(problem) for problem in scan.problems],
        "notes": [dataclasses.astuple(note) for note in scan.notes],
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
                    ImageLabels(boxes, polygons[ends[index] : ends[index + 1]])
                    for index, boxes in enumerate(rows)
                ],
                regions=_split(arrays["regions"], arrays["regions_of"]),
                problems=[Problem(*values) for values in texts["problems"]],
                notes=[Problem(*values) for values in texts["notes"]],
                without_file=texts["without_file"],
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _joined(arrays: Sequence[np.ndarray], columns: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, columns), dtype=np.float32), *arrays])


def _split(joined: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(joined, np.cumsum(lengths)[:-1]) if len(lengths) else []
