"""What every sink has in common: detections go in, frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks.growing_file import GrowingFile


@dataclass(frozen=True)
class FrameContext:
    """What a sink has to know about a frame's source.

    Attributes:
        frame_rate: frames per second; None for an image, or a live source of unknown rate.
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


class Sink(ABC):
    """Writes detections. Frames of several sources may be interleaved; those of one source arrive
    in order.

    Attributes:
        paths: the files and folders written so far.
    """

    paths: tuple[Path, ...] = ()

    @abstractmethod
    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Write the detections of one frame. Raises `DiskFullError` if there is no space left."""

    def end_source(self, name: str) -> None:  # noqa: B027 - few hold something back
        """Finish the files of one source (``frame.source``); unknown names are ignored."""

    def close(self) -> None:  # noqa: B027
        """Finish all files. Calling it again does nothing."""


class FilePerSource(Sink):
    """A sink that appends to a file of its own for each source."""

    def __init__(self) -> None:
        self._files: dict[str, GrowingFile] = {}

    def end_source(self, name: str) -> None:
        """Complete the file of a source."""
        file = self._files.pop(name, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Complete all files."""
        for name in list(self._files):
            self.end_source(name)
