"""What all sources have in common: a name to show, a name for files, and frames to iterate over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from yolo_ema.errors import SourceError
from yolo_ema.media.frames import Frame


class FrameReader(ABC):
    """An opened source: iterate over it, once, for its frames.

    Attributes:
        frame_rate: frames per second; None for images, and if a stream does not say.
        frame_count: how many frames a file states or implies; None if unknown.
        missing_frames: how many frames a file states and does not hold, known at its end.
        frames_in_holes: about how many frames lay in damaged parts that were skipped.
    """

    frame_rate: Fraction | None = None
    frame_count: int | None = None
    missing_frames: int = 0
    frames_in_holes: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order. Raises `SourceError` if the source turns out to be damaged, or
        is given up.
        """

    @abstractmethod
    def close(self) -> None:
        """End the iteration, also from another thread and while it waits; may be called again."""

    @property
    def damaged_packets(self) -> int:
        """How many packets or frames could not be decoded and were skipped, so far."""
        return 0

    @property
    def frame_bytes(self) -> int:
        """How much memory the next frame takes, as far as that is known before decoding it."""
        return 0

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel divided by its height; None if square or not stated."""
        return None

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the frames read so far, each once."""
        return ()

    @property
    def loss(self) -> str:
        """What was lost of the frames read so far, as a clause; "" if nothing was."""
        damaged, missing, holes = self.damaged_packets, self.missing_frames, self.frames_in_holes
        lost = [f"{damaged} damaged {_plural(damaged, 'packet')} skipped"] if damaged else []
        if missing:
            of = f" of the {self.frame_count}" if self.frame_count else ""
            stated = f"{missing}{of} frames that the file states are missing"
            lost.append(f"the file is damaged or truncated: {stated}")
        if holes:
            lost.append(
                f"about {holes} {_plural(holes, 'frame')} lost in damaged parts of the file"
            )
        return "; ".join(lost)


class ForwardingReader(FrameReader):
    """Frames of a reader below, which knows what was lost of them."""

    _reader: Any

    def close(self) -> None:
        """End the reader below."""
        self._reader.close()

    @property
    def damaged_packets(self) -> int:
        """As of the reader below."""
        return int(self._reader.damaged_packets)

    @property
    def missing_frames(self) -> int:  # type: ignore[override]
        """As of the reader below."""
        return int(self._reader.missing_frames)

    @property
    def frames_in_holes(self) -> int:  # type: ignore[override]
        """As of the reader below."""
        return int(self._reader.frames_in_holes)

    @property
    def pixel_aspect(self) -> Fraction | None:
        """As of the reader below."""
        aspect: Fraction | None = self._reader.pixel_aspect
        return aspect

    @property
    def notes(self) -> Sequence[str]:
        """As of the reader below."""
        notes: Sequence[str] = self._reader.notes
        return notes


def _plural(count: int, noun: str) -> str:
    return f"{noun} was" if count == 1 else f"{noun}s were"


class Source(ABC):
    """An image, a video file, a camera or a stream.

    Attributes:
        is_video: whether the source moves.
        is_live: whether frames arrive on their own, and are lost if nobody takes them.
    """

    is_video: bool = False
    is_live: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What is shown and written: the path, or the address without its secrets."""

    @property
    @abstractmethod
    def stem(self) -> str:
        """A name for files made from this source; those of `open_sources` are distinct."""

    def image_of(self, index: int) -> Source | None:
        """Return the image file that a frame was read from; None for videos and live sources."""
        return None

    @abstractmethod
    def open(self) -> FrameReader:
        """Open the source. Raises `SourceError` if a file cannot be read; a live source is
        connected to while it is iterated.
        """


class LiveSource(Source):
    """A camera or a stream; an address may turn out to be a recording once it is open."""

    is_video = is_live = True


@dataclass(frozen=True)
class UnreadableSource(Source):
    """Something that was found among the sources and cannot be opened, such as a folder without
    permission: it fails by its name, and the others continue.
    """

    place: str
    problem: str

    @property
    def name(self) -> str:
        """Where it is."""
        return self.place

    @property
    def stem(self) -> str:
        """Not used: no file is ever made from it."""
        return "unreadable"

    def open(self) -> FrameReader:
        """Raise `SourceError`, always."""
        raise SourceError(self.problem)


@dataclass(frozen=True)
class SourceEvent:
    """Something that a source brought: a frame, a notice, or its end.

    Attributes:
        source: which one.
        frame: the frame; None for a notice and for the end.
        reader: the opened source; None if it could not be opened.
        ended: whether this was the source's last event.
        problem: "" or what is wrong: the reason of the end, or a notice such as a lost connection
            or another frame size.
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
        frames_read: how many frames arrived.
        frames_dropped: how many of them were replaced by a newer one before anybody took them.
        reconnects: how often frames arrived again after an outage.
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
