"""Reads video files, and pipes that carry one, through PyAV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.io.video_files import open_video
from yolo_ema.media.sources.lost_frames import LostFrames
from yolo_ema.media.sources.presentation_times import stated_rate
from yolo_ema.media.sources.video_cuts import VideoSpan
from yolo_ema.media.sources.video_decoder import VideoDecoder

_MOST_FAILURES_IN_A_ROW = 1000


class VideoReader:
    """The frames of a video file, one after the other; memory holds one of them.

    Attributes:
        path: the file, as given.
        frame_rate: frames per second.
        frame_count: as the file states or as its duration implies; None if it states neither.
        image_wh: width and height of the first frame as it is stored.
        missing_frames: how many frames the file states and does not hold, known once it is read to
            its end.
    """

    def __init__(
        self, path: Path, *, max_pixels: int = LARGEST_PIXELS, span: VideoSpan | None = None
    ) -> None:
        """Open ``path``.

        Args:
            path: the file.
            max_pixels: the limit for its frames.
            span: only this part of it, see `cut_video`.

        Raises:
            SourceError: it is missing, empty or not a video, or its frames exceed ``max_pixels``.
        """
        self.path = path
        self.missing_frames = 0
        self._span = span
        self._closed = False
        self._broken_off = ""
        self._met_start = False
        if not path.exists() or path.is_dir():
            raise SourceError(f"no video at {path}")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        try:
            self._container: Any = open_video(path)
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
                self._container,
                str(path),
                max_pixels=max_pixels,
                keep_damaged=True,
                origin_s=span.origin_s if span else None,
                wanted_s=(span.start_s, span.end_s) if span else (-math.inf, math.inf),
            )
        except SourceError:
            self._container.close()
            raise
        self._stream = self._decoder.stream
        self.image_wh = self._stream.width, self._stream.height
        self.frame_rate = stated_rate(self._stream) or Fraction(25)
        self._lost = LostFrames(self._container, self._stream)
        self.frame_count = self._stream.frames or None
        if self.frame_count is None and self._container.duration:
            self.frame_count = round(self._container.duration / 1e6 * self.frame_rate)

    @property
    def frames_in_holes(self) -> int:
        """About how many frames lay in damaged parts that the container skipped, so far."""
        return self._lost.in_holes

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
            for image_bgr, time_s in self._in_span() if self._span else self._decoded():
                frames += 1
                yield image_bgr, time_s
            if not self._closed and (self._span is None or math.isinf(self._span.end_s)):
                before = self._span.first_frame if self._span else 0
                self.missing_frames = self._lost.at_end(before + frames)
        if not frames and not self._closed:
            raise SourceError(
                f"{self.path} has no frame that can be decoded ({self.damaged_packets} damaged "
                f"packets)"
            )
        if self._broken_off:
            raise SourceError(f"{self.path} broke off: {self._broken_off}")

    def _in_span(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield the frames of the part that is wanted.

        Raises:
            SourceError: the file is not the one that was cut.
        """
        span = self._span
        if span is None:
            return
        if span.start_s > 0:
            self._container.seek(span.seek_ticks, stream=self._stream, backward=True)
        begun = False
        for image_bgr, time_s in self._decoded():
            if time_s >= span.end_s:
                return
            if time_s < span.start_s:
                continue
            if not begun:
                if time_s != span.start_s and not self._met_start:
                    raise SourceError(
                        f"{self.path} has no frame at {span.start_s:.3f} s, where it was cut: it "
                        f"has changed since"
                    )
                begun = True
            yield image_bgr, time_s

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
            self._lost.see(packet)
            if is_ours and packet.size:
                failures = 0
                if self._span and self._decoder.time_of(packet) == self._span.start_s:
                    self._met_start = True  # the key frame is there, even if it is damaged
                yield packet

    def close(self) -> None:
        """Let the iteration end at its next packet; also from another thread."""
        self._closed = True
