"""What every source has in common: a name to tell, a name for files, and frames to iterate over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from yolo_ema.media.frames import Frame

__all__ = ["FrameReader", "LiveSource", "Source", "SourceEvent", "SourceStatus"]


class FrameReader(ABC):
    """An opened source: iterate over it, once, for its frames.

    Attributes:
        frame_rate: frames a second; None for images, and where a stream does not say.
        frame_count: how many frames a file states or implies; None where that is unknown.
    """

    frame_rate: Fraction | None = None
    frame_count: int | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order. Raises `SourceError` where the source turns out to be damaged,
        or is given up.
        """

    @abstractmethod
    def close(self) -> None:
        """End the iteration, also from another thread and while it waits; may be called again."""

    @property
    def damaged_packets(self) -> int:
        """How many packets or images could not be decoded and were passed over, so far."""
        return 0

    @property
    def frame_bytes(self) -> int:
        """How much memory the next frame takes, as far as that can be known before decoding it."""
        return 0


class Source(ABC):
    """An image, a video file, a camera or a stream."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What is shown and written: the path, or the address without its secrets."""

    @property
    @abstractmethod
    def stem(self) -> str:
        """A name for files made from this source; those of `open_sources` are distinct."""

    @property
    @abstractmethod
    def is_video(self) -> bool:
        """Whether the source moves."""

    @property
    @abstractmethod
    def is_live(self) -> bool:
        """Whether frames come by themselves, and are lost if nobody takes them."""

    def image_of(self, index: int) -> Source | None:
        """Return the image file that a frame is; None where it is none, as in videos and live
        sources.
        """
        return None

    @abstractmethod
    def open(self) -> FrameReader:
        """Open the source. Raises `SourceError` where a file can't be read; a live source is
        connected to while it is iterated.
        """


class LiveSource(Source):
    """A camera or a stream. Whether an address is a recording after all shows only when it is
    open.
    """

    @property
    def is_video(self) -> bool:
        """Always."""
        return True

    @property
    def is_live(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class SourceEvent:
    """Something that a source brought: a frame, a notice, or its end.

    Attributes:
        source: which one.
        frame: the frame; None for a notice and for the end.
        reader: the opened source; None where it could not be opened.
        ended: whether this was the source's last event.
        problem: "" or what is wrong: the reason of the end, or a notice such as a lost connection
            or another image size.
    """

    source: Source
    frame: Frame | None = None
    reader: FrameReader | None = None
    ended: bool = False
    problem: str = ""


@dataclass(frozen=True)
class SourceStatus:
    """How a source is doing.

    Attributes:
        state: ``opening``, ``live``, ``stale`` (no new frame, or always the same image),
            ``reconnecting``, ``ended``, ``failed``.
        frames_read: how many frames came.
        frames_dropped: how many of them were replaced by a newer one before anybody took them.
        reconnects: how often frames came again after an outage.
        seconds_since_frame: None before the first.
        problem: "" or what is wrong now.
    """

    name: str
    state: str
    frames_read: int = 0
    frames_dropped: int = 0
    reconnects: int = 0
    seconds_since_frame: float | None = None
    problem: str = ""
