"""Copies of the sources with their detections drawn in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from yolo_ema.constants import IMAGE_SUFFIXES
from yolo_ema.errors import SourceError
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.contract import FrameContext
from yolo_ema.media.sinks.frame_names import frame_stem
from yolo_ema.media.sinks.unique_paths import publish_fresh
from yolo_ema.media.sinks.video_writer import VideoWriter

__all__ = ["AnnotatedCopies"]

_LOSSLESS = frozenset({".png", ".bmp", ".tif", ".tiff"})
_NOMINAL_RATE = Fraction(25)
_JPEG_SIDE = 65_500  # pixels; the format's limit is 65,535


@dataclass
class _Clip:
    writer: VideoWriter
    image_wh: tuple[int, int]
    start_s: float


class AnnotatedCopies:
    """A picture, or an mp4, a source, with its detections drawn in; no file that exists is
    replaced.

    The frames of a sequence of pictures stay pictures.
    """

    def __init__(
        self, out: Path, draw: Callable[[FrameDetections], np.ndarray] = draw_detections
    ) -> None:
        self._out = out
        self._draw = draw
        self._paths: list[Path] = []
        self._clips: dict[str, _Clip] = {}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The pictures and videos, in the order in which they were begun."""
        return tuple(self._paths)

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Draw and write one frame. A source whose picture changes its size gets a further file.

        Raises:
            DiskFullError: there is no room; what was written of a video until then plays.
        """
        image = self._draw(found)
        if context.picture or not context.is_moving:
            stem = frame_stem(found.frame, context)
            self._paths.append(
                self._write_picture(context.picture or found.frame.source, stem, image)
            )
            return
        source, time_s = found.frame.source, found.frame.time_s
        image_wh = (image.shape[1], image.shape[0])
        if source in self._clips and self._clips[source].image_wh != image_wh:
            self.end_source(source)
        if source not in self._clips:
            self._clips[source] = self._begin(context, image_wh, time_s)
        clip = self._clips[source]
        clip.writer.write(image, time_s - clip.start_s)

    def end_source(self, name: str) -> None:
        """Complete the video of a source."""
        clip = self._clips.pop(name, None)
        if clip is not None:
            clip.writer.close()

    def close(self) -> None:
        """Complete all videos that are being written; each of them, even where one fails."""
        try:
            while self._clips:
                self.end_source(next(iter(self._clips)))
        finally:
            if self._clips:
                self.close()

    def _begin(self, context: FrameContext, image_wh: tuple[int, int], time_s: float) -> _Clip:
        rate = context.frame_rate or _NOMINAL_RATE
        writer = VideoWriter(
            self._out / f"{context.stem}.mp4",
            frame_rate=rate,
            image_wh=image_wh,
            is_live=context.is_live,
        )
        self._paths.append(writer.path)
        return _Clip(writer, image_wh, time_s)

    def _write_picture(self, source: str, stem: str, image_bgr: np.ndarray) -> Path:
        suffix = Path(source).suffix.lower()
        lossless = (
            suffix in _LOSSLESS
            or suffix not in IMAGE_SUFFIXES
            or max(image_bgr.shape[:2]) > _JPEG_SIDE
        )
        suffix = ".png" if lossless else ".jpg"
        written, content = cv2.imencode(suffix, image_bgr)
        if not written:
            height, width = image_bgr.shape[:2]
            raise SourceError(
                f"the annotated copy of {source} cannot be encoded: it has {width}x{height} pixels"
            )
        return publish_fresh(self._out, stem, suffix, content.tobytes())
