"""Streams through PyAV: RTSP, RTMP, UDP, TCP, and everything over HTTP except motion JPEG."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from yolo_ema.errors import SourceError, SourceRefusedError
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.io.video_files import METADATA
from yolo_ema.media.sources.addresses import Address
from yolo_ema.media.sources.lost_frames import LostFrames
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.presentation_times import stated_rate
from yolo_ema.media.sources.video_decoder import VideoDecoder

_MOST_DAMAGED_IN_A_ROW = 500
_REFUSALS = (
    av.error.HTTPBadRequestError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
    av.error.HTTPNotFoundError,
    av.error.ProtocolNotFoundError,
    av.error.DecoderNotFoundError,
)


class AvConnection:
    """One connection through FFmpeg, with FFmpeg's interrupts as time limits."""

    def __init__(
        self, address: Address, options: NetworkOptions, *, max_pixels: int = LARGEST_PIXELS
    ) -> None:
        self.frame_rate: Fraction | None = None
        self.finite = self.is_playlist = False
        self.missing_frames = 0
        self._address = address
        self._options = options
        self._max_pixels = max_pixels
        self._container: Any = None
        self._decoder: VideoDecoder | None = None
        self._closed = False

    @property
    def damaged(self) -> int:
        """How many packets or frames were damaged and skipped, so far."""
        return self._decoder.damaged if self._decoder else 0

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel divided by its height; None if square or not stated."""
        return self._decoder.pixel_aspect if self._decoder else None

    @property
    def notes(self) -> list[str]:
        """What the user should know of the frames."""
        return self._decoder.notes if self._decoder else []

    def open(self) -> None:
        """Connect, and find the video. Raises `SourceError`."""
        problem, refused, began_at = "", False, time.monotonic()
        limit_s = 0.9 * self._options.open_timeout_s
        try:
            self._container = av.open(
                self._address.url,
                options=self._settings(),
                timeout=(limit_s, self._options.read_timeout_s),
                **METADATA,
            )
        except av.FFmpegError as error:
            problem, refused = _reason(error), isinstance(error, _REFUSALS)
            timed_out = time.monotonic() - began_at >= limit_s
            if isinstance(error, av.error.InvalidDataError) and timed_out:
                problem = "no answer in time"  # as FFmpeg's RTSP reports an interrupt
            if isinstance(error, av.error.HTTPUnauthorizedError):
                known = bool(self._address.password)
                problem += ", wrong user or password" if known else ", user and password required"
        # Raised out here, so that no traceback leads to FFmpeg's error, which holds the address.
        if problem:
            raise self._error("cannot be opened", problem, refused=refused)
        try:
            self._decoder = self._new_decoder()
        except BaseException:
            self._container.close()
            raise
        self.frame_rate = stated_rate(self._decoder.stream)
        self.finite = self._address.scheme.startswith("http") and bool(self._container.duration)
        self.is_playlist = self._container.format.name in {"hls", "dash"}

    def _new_decoder(self) -> VideoDecoder:
        if not self._container.streams.video:
            raise self._error("cannot be used", "it has no video", refused=True)
        return VideoDecoder(
            self._container, self._address.shown, max_pixels=self._max_pixels, keep_damaged=False
        )

    def _settings(self) -> dict[str, str]:
        # Half a second of analysis instead of five. What was analysed is kept ("nobuffer" would
        # lose the first key frame with it).
        settings = {"analyzeduration": "500000"}
        if self._address.scheme.startswith("rtsp"):
            settings |= {
                "rtsp_transport": self._options.rtsp_transport,
                "allowed_media_types": "video",
            }
        return settings

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield the frames that were decoded without damage.

        Raises:
            SourceError: the connection broke off, or brings nothing but damage.
        """
        if self._decoder is None:
            return
        in_a_row = frames = 0
        packets = self._container.demux(self._decoder.stream)
        lost = LostFrames(self._container, self._decoder.stream)
        try:
            while (packet := self._next(packets)) is not None and not self._closed:
                lost.see(packet)
                before, whole = self.damaged, False
                for image_bgr, time_s in self._decoder.decode(packet):
                    whole, frames = True, frames + 1
                    yield image_bgr, time_s
                in_a_row = 0 if whole else in_a_row + self.damaged - before
                if in_a_row >= _MOST_DAMAGED_IN_A_ROW:
                    raise self._error("broke off", f"the last {in_a_row} packets were damaged")
            if not self._closed:
                for image_bgr, time_s in self._decoder.flush():
                    frames += 1
                    yield image_bgr, time_s
                self.missing_frames = lost.at_end(frames) if self.finite else 0
        finally:
            # by the thread that reads, since FFmpeg's state may not be touched from another
            self._container.close()

    def _next(self, packets: Iterator[Any]) -> Any:
        """Return the next packet; None at the end. Raises `SourceError` on a broken line."""
        problem = ""
        try:
            # an empty packet marks the end, or stands for a repeated frame
            return next((packet for packet in packets if packet.size), None)
        except av.error.EOFError:
            return None
        except av.FFmpegError as error:
            problem = _reason(error)
        raise self._error("broke off", problem)

    def _error(self, failure: str, problem: str, *, refused: bool = False) -> SourceError:
        kind = SourceRefusedError if refused else SourceError
        return kind(f"{self._address.shown} {failure}: {problem}")

    def close(self) -> None:
        """Ask the reading thread to stop; a read that waits ends at its own time limit."""
        self._closed = True


def _reason(error: av.FFmpegError) -> str:
    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    if isinstance(error, av.error.InvalidDataError):
        return "the server does not send a video that can be read"
    return (error.strerror or type(error).__name__).lower().removesuffix(" (authorization failed)")
