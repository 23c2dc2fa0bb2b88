"""``detections.csv``: one row per object."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from yolo_ema.io.text_files import csv_text
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.growing_file import GrowingFile
from yolo_ema.media.sinks.sink import FrameContext, Sink

COLUMNS = (
    *("source", "frame", "time_s", "width", "height", "track_id"),
    *("class_id", "class", "score", "x1", "y1", "x2", "y2"),
)


class CsvRows(Sink):
    """``detections.csv``: a header line, then one row per object; a frame without objects leaves no
    row.
    """

    def __init__(self, out: Path) -> None:
        """Start the file in the folder ``out``. Raises `DiskFullError` if there is no space."""
        self._file = GrowingFile.create(out, "detections", ".csv", head=_lines([COLUMNS]))
        self.paths = (self._file.path,)

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Append a row for each object; ``track_id`` is empty where an object has none."""
        frame = found.as_json()
        frame_cells = [csv_text(frame["source"]), *(frame[key] for key in COLUMNS[1:5])]
        self._file.append(
            _lines(
                [
                    *frame_cells,
                    detection.get("track_id"),
                    detection["class_id"],
                    csv_text(detection["class"]),
                    detection["score"],
                    *detection["box_xyxy"],
                ]
                for detection in frame["detections"]
            )
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
