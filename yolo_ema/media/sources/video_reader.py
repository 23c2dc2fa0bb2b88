"""Reading video files through PyAV: with times and rotation, past damaged packets."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.io.image_header import LARGEST_PIXELS

__all__ = ["VIDEO_SUFFIXES", "VideoReader", "stated_rate", "upright_bgr"]

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
_HIGHEST_RATE = 1000
_QUARTER_TURNS_OF = {0: 0, 90: 1, 180: 2, 270: 3}


class VideoReader:
    """The frames of a video file, one after the other; memory holds one of them.

    Attributes:
        frame_rate: frames a second.
        frame_count: as the file states or as its duration implies; None where it says neither.
        damaged_packets: how many packets could not be decoded and were passed over, and frames with
            damage, so far.
        image_wh: width and height of the first frame as it is stored.
    """

    def __init__(self, path: Path, *, max_pixels: int = LARGEST_PIXELS) -> None:
        """Open ``path``. Raises `SourceError` where it is missing, empty, no video, or its frames
        exceed ``max_pixels``.
        """
        self.path = path
        self._closed = False
        if not path.is_file():
            raise SourceError(f"no video at {path}")
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        try:
            self._container = av.open(str(path))
        except av.FFmpegError as error:
            raise SourceError(
                f"{path} cannot be opened as video: {error.strerror}; it may be truncated or of "
                f"another kind"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{path} has no video stream")
        self._stream = self._container.streams.video[0]
        width, height = self._stream.width, self._stream.height
        if width * height > max_pixels:
            self._container.close()
            raise SourceError(
                f"{path} claims frames of {width}x{height} = {width * height / 1e6:.0f} million "
                f"pixels, "
                f"expected at most {max_pixels / 1e6:g} million"
            )
        self.image_wh = width, height
        self._stream.thread_type = "AUTO"
        self.frame_rate = stated_rate(self._stream) or Fraction(25)
        self.frame_count = self._count()
        self.damaged_packets = 0

    def _count(self) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        duration_us = self._container.duration
        return round(duration_us / 1e6 * self.frame_rate) if duration_us else None

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield (H, W, 3) uint8 BGR and the seconds since the start, upright.

        Raises:
            SourceError: not one frame could be decoded.
        """
        seen, first_s = 0, None
        with self._container:
            for frame in self._decoded():
                self.damaged_packets += frame.is_corrupt
                time_s = frame.time if frame.time is not None else float(seen / self.frame_rate)
                first_s = (
                    time_s if first_s is None else first_s
                )  # recordings cut out of longer ones don't begin at zero
                seen += 1
                yield upright_bgr(frame), float(time_s - first_s)
        if not seen and not self._closed:
            raise SourceError(
                f"{self.path} has no frame that can be decoded ({self.damaged_packets} damaged "
                f"packets)"
            )

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while not self._closed:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except (av.error.InvalidDataError, av.error.EOFError):  # noqa: PERF203 - a damaged packet must not end the file
                self.damaged_packets += 1
                if self.damaged_packets > 1000:
                    return

    def close(self) -> None:
        """Let the iteration end at its next packet; also from another thread."""
        self._closed = True


def stated_rate(stream: av.VideoStream) -> Fraction | None:
    """Return a stream's frames a second; None where it says none, or the ticks of its clock, as
    RTSP's 90,000, in their place.
    """
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= _HIGHEST_RATE:
            return Fraction(rate)
    return None


def upright_bgr(frame: av.VideoFrame) -> np.ndarray:
    """Return a decoded frame as (H, W, 3) uint8 BGR, turned as its metadata says."""
    image = frame.to_ndarray(format="bgr24")
    turns = _QUARTER_TURNS_OF.get(round(getattr(frame, "rotation", 0)) % 360, 0)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
