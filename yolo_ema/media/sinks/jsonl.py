"""``detections.jsonl``: one line per frame."""

from __future__ import annotations

import json
from pathlib import Path

from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.growing_file import GrowingFile
from yolo_ema.media.sinks.sink import FrameContext, Sink


class JsonLines(Sink):
    """``detections.jsonl``: one line per frame, on disk as soon as it is written, so that programs
    can follow the file as it grows.
    """

    def __init__(self, out: Path) -> None:
        """Start the file in the folder ``out``. Raises `DiskFullError` if there is no space."""
        self._file = GrowingFile.create(out, "detections", ".jsonl")
        self.paths = (self._file.path,)

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Append one frame's detections as one line."""
        line = found.as_json()
        if context.image_path and context.is_moving:
            line = {"source": line["source"], "picture": context.image_path} | line
        self._file.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
