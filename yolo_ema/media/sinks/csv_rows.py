"""``detections.csv``: one row an object."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.contract import FrameContext
from yolo_ema.media.sinks.growing_file import GrowingFile

__all__ = ["COLUMNS", "CsvRows"]

COLUMNS = (
    "source",
    "frame",
    "time_s",
    "width",
    "height",
    "track_id",
    "class_id",
    "class",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
)


class CsvRows:
    """``detections.csv``: a head line, then one row an object; a frame without objects leaves no
    row.
    """

    def __init__(self, out: Path) -> None:
        """Start the file in the folder ``out``. Raises `DiskFullError` where there is no room."""
        self._file = GrowingFile(out, "detections", ".csv", head=_lines([COLUMNS]))

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self._file.path,)

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Append a row for each object of a frame; ``track_id`` is empty where an object has
        none.
        """
        frame = found.as_json()
        about = [frame[key] for key in ("source", "frame", "time_s", "width", "height")]
        self._file.append(
            _lines(
                [
                    *about,
                    one.get("track_id"),
                    one["class_id"],
                    one["class"],
                    one["score"],
                    *one["box_xyxy"],
                ]
                for one in frame["detections"]
            )
        )

    def end_source(self, name: str) -> None:
        """Nothing is held back for a source."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
