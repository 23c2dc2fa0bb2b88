"""Copies of the sources with their detections drawn in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from yolo_ema.constants import JPEG_SIDE
from yolo_ema.errors import SourceError
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sinks.unique_paths import write_unique

if TYPE_CHECKING:
    from yolo_ema.media.sinks.video_writer import VideoWriter

_LOSSY = frozenset({".avif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".webp"})
_NOMINAL_RATE = Fraction(25)


@dataclass
class _Clip:
    writer: VideoWriter
    number: int
    image_wh: tuple[int, int]
    start_s: float


class AnnotatedCopies(Sink):
    """An image or an mp4 per source, with its detections drawn in; existing files are never
    replaced.

    The frames of a sequence of images stay images.
    """

    def __init__(
        self,
        out: Path,
        draw: Callable[[FrameDetections], np.ndarray] = draw_detections,
        *,
        stems: Iterable[str] = (),
    ) -> None:
        """Write to ``out``.

        Args:
            out: the folder, created if missing.
            draw: turns detections into the annotated image.
            stems: those of all sources of the run, as far as they are known: a second video of
                ``live`` is never called ``live-2`` if another source is.
        """
        self._reserved = {stem.casefold() for stem in stems}
        self._out = out
        self._draw = draw
        self._paths: dict[int, Path] = {}
        self._begun = 0
        self._clips: dict[str, _Clip] = {}

    @property
    def paths(self) -> tuple[Path, ...]:  # type: ignore[override]
        """The finished images and videos, in the order in which they were begun."""
        return tuple(self._paths[number] for number in sorted(self._paths))

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Draw and write one frame. A source that changes its frame size gets another file.

        Raises:
            DiskFullError: there is no space left; what was written of a video plays.
        """
        image = self._draw(found)
        if context.image_path or not context.is_moving:
            stem = context.frame_stem(found.frame)
            self._begun += 1
            self._paths[self._begun] = self._write_image(
                context.image_path or found.frame.source, stem, image
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
            try:
                clip.writer.close()
            finally:
                if clip.writer.path.exists():
                    self._paths[clip.number] = clip.writer.path

    def close(self) -> None:
        """Complete all videos that are being written; each of them, even if one fails."""
        try:
            while self._clips:
                self.end_source(next(iter(self._clips)))
        finally:
            if self._clips:
                self.close()

    def _begin(self, context: FrameContext, image_wh: tuple[int, int], time_s: float) -> _Clip:
        from yolo_ema.media.sinks.video_writer import VideoWriter  # brings PyAV

        self._begun += 1
        self._reserved.add(context.stem.casefold())
        writer = VideoWriter(
            self._out / f"{context.stem}.mp4",
            frame_rate=context.frame_rate or _NOMINAL_RATE,
            image_wh=image_wh,
            is_live=context.is_live,
            pixel_aspect=context.pixel_aspect,
            reserved=self._reserved,
        )
        return _Clip(writer, self._begun, image_wh, time_s)

    def _write_image(self, source: str, stem: str, image_bgr: np.ndarray) -> Path:
        lossless = Path(source).suffix.lower() not in _LOSSY or max(image_bgr.shape[:2]) > JPEG_SIDE
        suffix = ".png" if lossless else ".jpg"
        written, content = cv2.imencode(suffix, image_bgr)
        if not written:
            height, width = image_bgr.shape[:2]
            raise SourceError(
                f"the annotated copy of {source} cannot be encoded: it has {width}x{height} pixels"
            )
        return write_unique(self._out, stem, suffix, content.tobytes())
