"""Which frames of a video are taken: every N-th, and only between two times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from yolo_ema.errors import SourceError
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.image_sequence import ImageSequence
from yolo_ema.media.sources.source import (
    ForwardingReader,
    FrameReader,
    Source,
    UnreadableSource,
)
from yolo_ema.media.sources.stored_source import StoredSource

_TIME_DIGITS = 6
"""Times are compared as files of results have them, so that a time that stands there is that
frame's: what the container's clock adds in rounding decides nothing.
"""


@dataclass(frozen=True)
class FrameSelection:
    """The frames with start_s ≤ time < end_s, to a microsecond, whose number is a multiple of the
    stride.

    Frames keep the number and the time that they have in the whole video, so that what is found in
    them compares with what is found in all. Images are always taken; of live sources only the
    stride counts.

    Attributes:
        stride: every so many frames one is taken: frames 0, N, 2N, …
        start_s, end_s: seconds since the video's first frame, rounded to a microsecond.
    """

    stride: int = 1
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        for name in ("start_s", "end_s"):
            object.__setattr__(self, name, round(getattr(self, name), _TIME_DIGITS))

    @property
    def is_all(self) -> bool:
        """Whether every frame is taken."""
        return self == FrameSelection()

    def takes(self, index: int, time_s: float) -> bool:
        """Say whether the frame of this number and time is taken."""
        begun = round(time_s, _TIME_DIGITS) >= self.start_s
        return begun and not self.is_over(time_s) and index % self.stride == 0

    def is_over(self, time_s: float) -> bool:
        """Say whether no frame from this time on is taken."""
        return round(time_s, _TIME_DIGITS) >= self.end_s

    def open(self, source: Source) -> FrameReader:
        """Open a stored source for the frames that are taken. Reading begins at the last key frame
        before the start where the file allows it.

        Raises:
            SourceError: it cannot be read.
        """
        if self.is_all or not source.is_video:
            return source.open()
        if isinstance(source, ImageSequence):
            reader = source.open(takes=self.takes)
            return _SelectedFrames(reader, self, source.name, last_s=source.last_s)
        part = source.span if isinstance(source, StoredSource) else None
        holds_all = part is None or (part.start_s <= self.start_s and part.end_s >= self.end_s)
        if isinstance(source, StoredSource) and part is None and self.start_s > 0:
            from yolo_ema.media.sources.video_cuts import span_from  # brings PyAV

            source = replace(source, span=span_from(source.path, self.start_s))
        return _SelectedFrames(source.open(), self, source.name if holds_all else "")

    def left_aside(self, sources: Sequence[Source]) -> str:
        """Say which sources the selection does not or not wholly apply to; "" where there are
        none.
        """
        images = sum(
            not (source.is_video or isinstance(source, UnreadableSource)) for source in sources
        )
        live = [source.name for source in sources if source.is_live]
        notes = []
        if images and not self.is_all:
            subject = "1 image is" if images == 1 else f"{images} images are"
            notes.append(f"{subject} taken whatever --vid-stride, --start and --end say")
        if live and (self.start_s > 0 or self.end_s < math.inf):
            notes.append(f"--start and --end do not apply to live sources: {', '.join(live)}")
        return "; ".join(notes)


class _SelectedFrames(ForwardingReader):
    """The frames of another reader that are taken.

    Args:
        reader: all frames.
        selection: which of them.
        name: of the source, for the error where none is taken; "" where that is not an error, as in
            a part of a video that holds only some of the selected time.
        last_s: when the last frame is shown, where that is known without reading.
    """

    def __init__(
        self, reader: FrameReader, selection: FrameSelection, name: str, *, last_s: float = 0.0
    ) -> None:
        self._reader, self._selection, self._name = reader, selection, name
        self._last_s = last_s
        rate, count = reader.frame_rate, reader.frame_count
        self.frame_rate = rate and Fraction(rate) / selection.stride
        self.frame_count = self._frames_of(count, rate) if count and rate else None

    def _frames_of(self, count: int, rate: Fraction) -> int:
        """Return about how many frames are taken."""
        first = math.ceil(self._selection.start_s * float(rate))
        last = math.ceil(min(self._selection.end_s * float(rate), count))
        stride = self._selection.stride
        return max(0, math.ceil(last / stride) - math.ceil(first / stride))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            SourceError: the source has none of them; or reading fails.
        """
        count, last_s = 0, self._last_s
        for frame in self._reader:
            last_s = max(last_s, frame.time_s)
            if self._selection.is_over(frame.time_s):
                break
            if self._selection.takes(frame.index, frame.time_s):
                count += 1
                yield frame
        self._reader.close()
        if not count and self._name:
            until = "" if math.isinf(self._selection.end_s) else f" to {self._selection.end_s:g} s"
            condition = f" whose number is a multiple of {self._selection.stride}"
            raise SourceError(
                f"{self._name} has no frame from {self._selection.start_s:g} s{until}"
                f"{condition if self._selection.stride > 1 else ''}; the last one read is at "
                f"{last_s:.2f} s"
            )

    @property
    def loss(self) -> str:
        return self._reader.loss

    @property
    def frame_bytes(self) -> int:
        return self._reader.frame_bytes
