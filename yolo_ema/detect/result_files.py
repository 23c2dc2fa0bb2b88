"""Reads what ``detect`` wrote: ``detections.jsonl``, ``detections.csv`` and MOT files, as frames of
sources.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolo_ema.constants import IMAGE_SUFFIXES, VISDRONE_CLASSES
from yolo_ema.errors import AnnotationError, ConfigError, DataNotFoundError
from yolo_ema.geo.pose import NoPose
from yolo_ema.geo.sightings import FrameBoxes
from yolo_ema.media.sinks.csv_rows import COLUMNS

NOT_LOOKED_UP = NoPose("not_found")
"""The pose of frames whose telemetry is yet to be found."""

_MOT_CLASS = "object"


@dataclass
class ResultSource:
    """The frames of one video or image, in order.

    Attributes:
        name: as ``detect`` was given it.
        frames: with what was found in them, without poses.
        is_whole: whether they are all frames that it has, those without objects among them.
        has_poses: whether its frames have their poses already.
    """

    name: str
    frames: list[FrameBoxes] = field(default_factory=list)
    is_whole: bool = True
    has_poses: bool = False

    @property
    def is_video(self) -> bool:
        """Whether it is not a single image."""
        return len(self.frames) > 1 or Path(self.name).suffix.lower() not in IMAGE_SUFFIXES

    @property
    def pictures(self) -> tuple[str, ...]:
        """Its image files, where it is a folder of images or an image."""
        if not self.is_video:
            return (self.name,)
        return tuple(frame.picture for frame in self.frames if frame.picture)

    @property
    def duration_s(self) -> float | None:
        """How long the video is, where its frames tell: all of them, one after the other."""
        times = [frame.time_s for frame in self.frames]
        numbers = [frame.frame for frame in self.frames]
        if not self.is_whole or len(times) < 2 or numbers != list(range(len(numbers))):
            return None
        return times[-1] + float(np.median(np.diff(times)))


class _Box(NamedTuple):
    box_xyxy: tuple[float, ...]
    class_name: str
    score: float
    track_id: int


class _Row(NamedTuple):
    """What one line tells: its frame, and the boxes."""

    source: str
    frame: int
    time_s: float
    image_wh: tuple[int, int]
    picture: str
    boxes: list[_Box]


def read_results(
    paths: Sequence[Path], *, frame_size: Sequence[int] = (), fps: float | None = None
) -> tuple[list[ResultSource], list[str]]:
    """Return the sources of all files, and remarks on what was left out.

    Args:
        paths: ``.jsonl``, ``.csv`` or ``.txt`` (MOT).
        frame_size: width and height of the frames of MOT files.
        fps: frame rate of MOT files.

    Raises:
        DataNotFoundError: a file is not there.
        AnnotationError: a line is not as ``detect`` writes it; two files have the same frame.
        ConfigError: a suffix is unknown, or MOT files lack size or rate.
    """
    sources: dict[str, ResultSource] = {}
    seen: dict[tuple[str, int], Path] = {}
    remarks: list[str] = []
    for path in paths:
        if not path.is_file():
            raise DataNotFoundError(f"there is no file of results {path}")
        in_file: dict[tuple[str, int], list[_Row]] = {}
        for row in _rows(path, frame_size, fps, remarks):
            in_file.setdefault((row.source, row.frame), []).append(row)
        for key, rows in in_file.items():
            if key in seen:
                raise AnnotationError(
                    f"{path} has frame {key[1]} of {key[0]}, which {seen[key]} has too; expected "
                    "each frame once"
                )
            seen[key] = path
            source = sources.setdefault(key[0], ResultSource(key[0]))
            source.frames.append(_as_frame(rows))
            source.is_whole &= path.suffix.lower() == ".jsonl"
        if path.suffix.lower() != ".jsonl":
            remarks.append(f"{path} has no frames without objects: coverage is of the others alone")
    for source in sources.values():
        source.frames.sort(key=lambda frame: frame.frame)
    return list(sources.values()), remarks


def _rows(
    path: Path, frame_size: Sequence[int], fps: float | None, remarks: list[str]
) -> Iterator[_Row]:
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        yield from _jsonl(path, remarks)
    elif suffix == ".csv":
        yield from _csv(path)
    elif suffix == ".txt":
        if len(frame_size) != 2 or fps is None:
            raise ConfigError(
                f"{path} is a MOT file, which states neither the size nor the times of its frames: "
                "give --frame-size WIDTH,HEIGHT and --fps RATE"
            )
        yield from _mot(path, (frame_size[0], frame_size[1]), fps)
    else:
        raise ConfigError(
            f"{path} is none of detect's results; expected detections.jsonl, detections.csv or a "
            "MOT file (.txt)"
        )


def _as_frame(rows: Sequence[_Row]) -> FrameBoxes:
    first = rows[0]
    boxes = [box for row in rows for box in row.boxes]
    return FrameBoxes(
        first.source,
        first.frame,
        first.time_s,
        first.image_wh,
        np.array([box.box_xyxy for box in boxes], float).reshape(-1, 4),
        tuple(box.class_name for box in boxes),
        np.array([box.score for box in boxes], float),
        np.array([box.track_id for box in boxes], np.int64),
        NOT_LOOKED_UP,
        first.picture,
    )


def _checked(read: Callable[[], _Row], where: str, expected: str) -> _Row:
    """Return what a line tells. Raises `AnnotationError` where it is another kind of line."""
    try:
        return read()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise AnnotationError(f"{where}: {_why(error)}; expected {expected}") from error


def _jsonl(path: Path, remarks: list[str]) -> Iterator[_Row]:
    expected = "a line as detect --save jsonl writes it"
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                remarks.append(f"{path}, line {number}: cut off, left out")
                return
            if line.strip():
                yield _checked(partial(_json_line, line), f"{path}, line {number}", expected)


def _json_line(text: bytes) -> _Row:
    line: dict[str, Any] = json.loads(text)
    boxes = [
        _box(
            detection["box_xyxy"],
            str(detection["class"]),
            float(detection["score"]),
            detection.get("track_id"),
        )
        for detection in line["detections"]
    ]
    return _Row(
        str(line["source"]),
        int(line["frame"]),
        _finite(line["time_s"]),
        _size(line["width"], line["height"]),
        str(line.get("picture", "")),
        boxes,
    )


def _csv(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise AnnotationError(
                f"{path} lacks the columns {', '.join(missing)}; expected a file as detect --save "
                "csv writes it"
            )
        expected = "a row as detect --save csv writes it"
        for row in reader:
            yield _checked(partial(_csv_row, row), f"{path}, line {reader.line_num}", expected)


def _csv_row(row: dict[str, str]) -> _Row:
    box = _box(
        [row[name] for name in ("x1", "y1", "x2", "y2")],
        row["class"].removeprefix("'"),
        float(row["score"]),
        row["track_id"] or None,
    )
    return _Row(
        row["source"].removeprefix("'"),
        int(row["frame"]),
        _finite(row["time_s"]),
        _size(row["width"], row["height"]),
        "",
        [box],
    )


def _mot(path: Path, image_wh: tuple[int, int], fps: float) -> Iterator[_Row]:
    expected = "frame,id,left,top,width,height,score,…"
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                read = partial(_mot_row, path, line.strip().split(","), image_wh, fps)
                yield _checked(read, f"{path}, line {number}", expected)


def _mot_row(path: Path, cells: Sequence[str], image_wh: tuple[int, int], fps: float) -> _Row:
    frame = int(cells[0]) - 1
    category = int(float(cells[7]))
    from_one = 1 if category < 1 else 0  # MOT Challenge's pixels count from 1, VisDrone's from 0
    left, top, width, height = (float(cell) for cell in cells[2:6])
    x1, y1 = left - from_one, top - from_one
    known = 1 <= category <= len(VISDRONE_CLASSES)
    name = VISDRONE_CLASSES[category - 1] if known else _MOT_CLASS
    box = _box((x1, y1, x1 + width, y1 + height), name, float(cells[6]), cells[1])
    return _Row(path.stem, frame, frame / fps, image_wh, "", [box])


def _box(edges: Sequence[Any], class_name: str, score: float, track_id: Any) -> _Box:
    x1, y1, x2, y2 = (_finite(edge) for edge in edges)
    if x2 < x1 or y2 < y1:
        raise ValueError(f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} has its corners in another order")
    return _Box((x1, y1, x2, y2), class_name, score, -1 if track_id is None else int(track_id))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number


def _size(width: Any, height: Any) -> tuple[int, int]:
    size = int(width), int(height)
    if min(size) < 1:
        raise ValueError(f"the frame is {size[0]}x{size[1]} pixels")
    return size


def _why(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
