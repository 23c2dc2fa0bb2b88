"""Reads video files, and pipes that carry one, through PyAV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.media.sources.video_decoder import VideoDecoder, stated_rate

__all__ = ["VideoReader"]

_MOST_FAILURES_IN_A_ROW = 1000
_STATES_ITS_DURATION = ("mov", "avi", "matroska", "flv")
"""Containers whose header tells how long they should be; others are measured by what is there."""
_SMALLEST_HOLE = 256
_TIMES_SETTLE_WITHIN = 50
"""Packets behind a hole may carry wrong times at first."""
_CLOCK = re.compile(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)")


class VideoReader:
    """The frames of a video file, one after the other; memory holds one of them.

    Attributes:
        path: the file, as given.
        frame_rate: frames per second.
        frame_count: as the file states or as its duration implies; None if it states neither.
        image_wh: width and height of the first frame as it is stored.
        missing_frames: how many frames the file states and does not hold, known once it is read to
            its end.
        frames_in_holes: about how many frames lay in damaged parts that the container skipped.
    """

    def __init__(self, path: Path, *, max_pixels: int = LARGEST_PIXELS) -> None:
        """Open ``path``.

        Raises:
            SourceError: it is missing, empty or not a video, or its frames exceed ``max_pixels``.
        """
        self.path = path
        self.missing_frames = self.frames_in_holes = 0
        self._closed = False
        self._broken_off = ""
        if not path.exists() or path.is_dir():
            raise SourceError(f"no video at {path}")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        try:
            # As an absolute path of the file protocol and no other: FFmpeg takes names with a colon
            # for addresses.
            self._container: Any = av.open(
                f"file:{path.absolute()}", options={"protocol_whitelist": "file"}
            )
        except av.FFmpegError as error:
            raise SourceError(
                f"{path} cannot be opened as video: {error.strerror}; it may be truncated or of "
                f"another kind"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{path} has no video stream")
        try:
            self._decoder = VideoDecoder(
                self._container, str(path), max_pixels=max_pixels, keep_damaged=True
            )
        except SourceError:
            self._container.close()
            raise
        self._stream = self._decoder.stream
        self.image_wh = self._stream.width, self._stream.height
        self.frame_rate = stated_rate(self._stream) or Fraction(25)
        skips_silently = self._container.format.name.startswith("matroska")
        self._holes = _Holes(self.frame_rate) if skips_silently else None
        self._end_s, self._packets_read = 0.0, 0
        self.frame_count = self._stream.frames or None
        if self.frame_count is None and self._container.duration:
            self.frame_count = round(self._container.duration / 1e6 * self.frame_rate)

    @property
    def damaged_packets(self) -> int:
        """How many packets could not be decoded and were skipped, and how many frames are damaged,
        so far.
        """
        return self._decoder.damaged

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel divided by its height; None if square or not stated."""
        return self._decoder.pixel_aspect

    @property
    def notes(self) -> list[str]:
        """What the user should know of the frames."""
        return self._decoder.notes

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield (H, W, 3) uint8 BGR and the seconds since the first frame, upright.

        Raises:
            SourceError: not one frame could be decoded, or reading failed.
        """
        frames = 0
        with self._container:
            for image_bgr, time_s in self._decoded():
                frames += 1
                yield image_bgr, time_s
            if not self._closed:
                self.missing_frames = self._count_missing(frames)
        if not frames and not self._closed:
            raise SourceError(
                f"{self.path} has no frame that can be decoded ({self.damaged_packets} damaged "
                f"packets)"
            )
        if self._broken_off:
            raise SourceError(f"{self.path} broke off: {self._broken_off}")

    def _decoded(self) -> Iterator[tuple[np.ndarray, float]]:
        for packet in self._packets():
            yield from self._decoder.decode(packet)
        yield from self._decoder.flush()

    def _packets(self) -> Iterator[Any]:
        """Yield the stream's packets, past what the container cannot make sense of."""
        packets, failures = self._container.demux(), 0
        while not self._closed:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                failures += 1
                self._decoder.damaged += 1
                if failures > _MOST_FAILURES_IN_A_ROW:
                    return
                packets = self._container.demux()
                continue
            except av.FFmpegError as error:  # the disk or the network drive fails
                self._broken_off = (error.strerror or type(error).__name__).lower()
                return
            if packet is None:
                return
            is_ours = packet.stream.index == self._stream.index
            if self._holes is not None:
                self.frames_in_holes += self._holes.before(packet, is_ours=is_ours)
            if is_ours and packet.pts is not None and packet.time_base:
                after = packet.pts + (packet.duration or 0)
                self._end_s = max(self._end_s, float(after * packet.time_base))
                self._packets_read += 1
            if is_ours and packet.size:
                failures = 0
                yield packet

    def _count_missing(self, frames: int) -> int:
        """Return how many frames lie behind the last packet, by what the header states."""
        if not self._packets_read or not self._container.format.name.startswith(
            _STATES_ITS_DURATION
        ):
            return 0
        first_s = float((self._stream.start_time or 0) * self._stream.time_base)
        lacking_s = first_s + self._stated_s() - self._end_s
        # Frames may be rarer than the rate says.
        step_s = max(float(1 / self.frame_rate), (self._end_s - first_s) / self._packets_read)
        if lacking_s < 1.5 * step_s:
            return 0
        # An edit list can leave out frames that the index still counts.
        count_fits = abs(self._stream.frames * step_s - self._stated_s()) < 0.1 * self._stated_s()
        return self._stream.frames - frames if count_fits else round(lacking_s / step_s)

    def _stated_s(self) -> float:
        """Return how long the stream should be; 0 if the file does not tell."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        # Matroska's, as 00:01:02.500000000
        tagged = _CLOCK.fullmatch(self._stream.metadata.get("DURATION", ""))
        if tagged:
            return int(tagged[1]) * 3600 + int(tagged[2]) * 60 + float(tagged[3])
        # What the whole file states may be the length of its sound.
        alone = len(self._container.streams) == 1
        return (self._container.duration or 0) / 1e6 if alone else 0.0

    def close(self) -> None:
        """Let the iteration end at its next packet; also from another thread."""
        self._closed = True


class _Holes:
    """Notices frames that a container skips over damage without a word, as Matroska's reader does:
    bytes of the file belong to no packet, and time jumps there or soon after. A recorder that
    paused leaves no such bytes.
    """

    def __init__(self, frame_rate: Fraction) -> None:
        self._step_s = float(1 / frame_rate)
        self._end_bytes: int | None = None
        self._decoded_s: float | None = None
        self._usual_bytes = 0.0
        self._packets_since = _TIMES_SETTLE_WITHIN

    def before(self, packet: Any, *, is_ours: bool) -> int:
        """Return how many frames are missing before a packet of any stream of the file."""
        if packet.pos is None or packet.pos < 0 or not packet.size:
            return 0
        if self._end_bytes is not None:
            unread_bytes = packet.pos - self._end_bytes
            if unread_bytes > max(_SMALLEST_HOLE, self._usual_bytes):
                self._packets_since = 0
        self._end_bytes = packet.pos + packet.size
        if not is_ours or packet.dts is None or not packet.time_base:
            return 0
        self._usual_bytes += 0.1 * (packet.size - self._usual_bytes)
        self._packets_since += 1
        before_s, self._decoded_s = self._decoded_s, float(packet.dts * packet.time_base)
        steps = (self._decoded_s - before_s) / self._step_s if before_s is not None else 0.0
        return round(steps) - 1 if steps > 1.5 and self._packets_since < _TIMES_SETTLE_WITHIN else 0
