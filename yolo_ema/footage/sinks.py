"""Where detections go: annotated pictures, annotated video, JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.files import disk_full_is_clear, write_bytes
from yolo_ema.footage.drawing import draw_detections
from yolo_ema.footage.frames import FrameDetections
from yolo_ema.footage.images import IMAGE_SUFFIXES
from yolo_ema.footage.video import VideoWriter

__all__ = ["AnnotatedCopies", "JsonLines"]

_LOSSLESS = frozenset({".png", ".bmp", ".tif", ".tiff"})


class JsonLines:
    """``detections.jsonl``: one line a frame, flushed as it is written, so that it can be followed while it grows."""

    def __init__(self, path: Path) -> None:
        """Start ``path`` anew. Raises `DiskFullError` where there is no room."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_full_is_clear(path):
            self._file = path.open("w", encoding="utf-8")

    def write(self, found: FrameDetections) -> None:
        """Append one frame's detections as one line."""
        with disk_full_is_clear(self.path):
            self._file.write(json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with disk_full_is_clear(self.path):
            self._file.close()


class AnnotatedCopies:
    """Copies of the sources with their detections drawn in: a picture or an mp4 each; no file that exists is replaced."""

    def __init__(self, folder: Path, draw: Callable[[FrameDetections], np.ndarray] = draw_detections) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        self._draw = draw
        self._taken: set[str] = set()
        self._writer: VideoWriter | None = None
        self._open_source: str | None = None

    def write(self, found: FrameDetections, frame_rate: Fraction | None) -> None:
        """Draw and write one frame; ``frame_rate`` (frames a second) marks a video. A source's frames come one after the other."""
        image = self._draw(found)
        if frame_rate is None:
            self._write_picture(found.frame.source, image)
            return
        if self._open_source != found.frame.source:
            self.close()
            path = self._new_path(Path(found.frame.source).stem, ".mp4")
            self._writer = VideoWriter(path, frame_rate=frame_rate, image_wh=found.frame.image_wh)
            self._open_source = found.frame.source
        if self._writer is not None:
            self._writer.write(image)

    def close(self) -> None:
        """Complete the video that is being written, if any."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._open_source = None

    def __enter__(self) -> AnnotatedCopies:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _write_picture(self, source: str, image_bgr: np.ndarray) -> None:
        suffix = Path(source).suffix.lower()
        suffix = ".png" if suffix in _LOSSLESS else ".jpg" if suffix in IMAGE_SUFFIXES else ".png"
        path = self._new_path(Path(source).stem, suffix)
        written, content = cv2.imencode(suffix, image_bgr)
        if not written:
            raise SourceError(f"{path} cannot be encoded: the picture is {image_bgr.shape[1]}x{image_bgr.shape[0]} pixels")
        write_bytes(path, content.tobytes())

    def _new_path(self, stem: str, suffix: str) -> Path:
        name, number = f"{stem}{suffix}", 1
        # Files that are there may be the very sources, or somebody's work.
        while name.lower() in self._taken or os.path.lexists(self.folder / name):
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.lower())
        self.paths.append(self.folder / name)
        return self.paths[-1]
