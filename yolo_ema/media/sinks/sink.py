"""What every sink has in common: detections go in, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from yolo_ema.media.frames import Frame, FrameDetections

__all__ = ["FrameContext", "Sink"]


@dataclass(frozen=True)
class FrameContext:
    """What a sink has to know about a frame's source.

    Attributes:
        frame_rate: frames per second; None for an image, and for a live source that does not
            report its rate.
        stem: the source's name for files, without folder and suffix.
        is_live: a camera or a stream, whose frames arrive at irregular times.
        image_path: the image file that the frame was read from, where the source is a sequence of
            image files; "" otherwise.
        image_stem: that image's name for files.
        pixel_aspect: width of a pixel divided by its height; None where pixels are square or the
            source does not say.
    """

    frame_rate: Fraction | None
    stem: str
    is_live: bool = False
    image_path: str = ""
    image_stem: str = ""
    pixel_aspect: Fraction | None = None

    @property
    def is_moving(self) -> bool:
        """Whether the frame is one of many."""
        return self.is_live or self.frame_rate is not None

    def frame_stem(self, frame: Frame) -> str:
        """Return the stem of a frame's own files: that of the image, or the video's with the
        0-based frame number, as in ``clip_000012``.
        """
        if self.image_path:
            return self.image_stem
        return f"{self.stem}_{frame.index:06d}" if self.is_moving else self.stem


class Sink(Protocol):
    """Writes detections. Frames of several sources may be interleaved; those of one source arrive
    in order.
    """

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders written so far."""
        ...

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Write the detections of one frame. Raises `DiskFullError` if there is no space left."""
        ...

    def end_source(self, name: str) -> None:
        """Finish the files of one source (``frame.source``); unknown names are ignored."""
        ...

    def close(self) -> None:
        """Finish all files. Calling it again does nothing."""
        ...
