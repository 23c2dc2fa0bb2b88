"""What every sink is: the place where detections are written, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from yolo_ema.media.frames import FrameDetections

__all__ = ["FrameContext", "Sink"]


@dataclass(frozen=True)
class FrameContext:
    """What a sink must know of a frame's source.

    Attributes:
        frame_rate: frames a second; None for a picture, and for a live source that doesn't say.
        stem: the source's name for file names, without folder and suffix.
        is_live: a camera or a stream, whose frames come at irregular times.
        picture: path of the picture file that the frame is; "" where it is none, or simply the
            source.
        picture_stem: the picture's name for file names, where ``picture`` is given.
    """

    frame_rate: Fraction | None
    stem: str
    is_live: bool = False
    picture: str = ""
    picture_stem: str = ""

    @property
    def is_moving(self) -> bool:
        """Whether the frame is one of many."""
        return self.is_live or self.frame_rate is not None


class Sink(Protocol):
    """Writes what was found. Frames of several sources may come interleaved; those of one source
    come in order.
    """

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders written so far."""
        ...

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Write one frame's detections. Raises `DiskFullError` where there is no room."""
        ...

    def end_source(self, name: str) -> None:
        """Complete what belongs to one source (``frame.source``); nothing happens where it is not
        known.
        """
        ...

    def close(self) -> None:
        """Complete everything; a second call does nothing."""
        ...
