"""Streams through PyAV: RTSP, RTMP, UDP, TCP, and what comes over HTTP but for motion JPEG."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from yolo_ema.errors import SourceError, SourceRefusedError
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.media.sources.addresses import Address
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.video_reader import stated_rate, upright_bgr

__all__ = ["AvConnection"]

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
        self.damaged = 0
        self._address = address
        self._options = options
        self._max_pixels = max_pixels
        self._container: Any = None
        self._closed = False

    def open(self) -> None:
        """Connect, and find the video. Raises `SourceError`."""
        problem, refused, began_at = "", False, time.monotonic()
        limit_s = 0.9 * self._options.open_timeout_s
        try:
            self._container = av.open(
                self._address.url,
                options=self._settings(),
                timeout=(limit_s, self._options.read_timeout_s),
            )
        except av.FFmpegError as error:
            problem, refused = _reason(error), isinstance(error, _REFUSALS)
            if (
                isinstance(error, av.error.InvalidDataError)
                and time.monotonic() - began_at >= limit_s
            ):
                problem = "no answer in time"  # as FFmpeg's RTSP tells an interrupt
            if isinstance(error, av.error.HTTPUnauthorizedError):
                problem += (
                    ", wrong user or password"
                    if self._address.password
                    else ", it wants a user and password"
                )
        if (
            problem
        ):  # raised out here, so that no traceback leads to FFmpeg's error, which holds the address
            raise self._error("cannot be opened", problem, refused=refused)
        videos = self._container.streams.video
        if not videos:
            raise self._error("cannot be used", "it has no video", refused=True)
        stream = videos[0]
        stream.thread_type = "SLICE"  # frame threads would hold a frame back each
        self.frame_rate = stated_rate(stream)
        self.finite = self._address.scheme.startswith("http") and bool(self._container.duration)
        self.is_playlist = self._container.format.name in {"hls", "dash"}

    def _settings(self) -> dict[str, str]:
        # Half a second of looking instead of five. What was looked at is kept ("nobuffer" would
        # lose the first key frame with it).
        settings = {"analyzeduration": "500000"}
        if self._address.scheme.startswith("rtsp"):
            settings |= {
                "rtsp_transport": self._options.rtsp_transport,
                "allowed_media_types": "video",
            }
        return settings

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield the images that were decoded without damage. Raises `SourceError` on a broken
        line, or nothing but damage.
        """
        stream = self._container.streams.video[0]
        packets = self._container.demux(stream)
        try:
            yield from self._images(packets)
        finally:
            # by the thread that reads, since FFmpeg's state may not be touched from another
            self._container.close()

    def _images(self, packets: Iterator[Any]) -> Iterator[tuple[np.ndarray, float | None]]:
        in_a_row = 0
        first_s: float | None = None
        while not self._closed:
            frames, problem = self._next(packets)
            if frames is None:
                if problem:
                    raise self._error("broke off", problem)
                return
            whole = [frame for frame in frames if not frame.is_corrupt]
            bad = len(frames) - len(whole) + bool(problem)
            self.damaged += bad
            in_a_row = 0 if whole else in_a_row + bad
            if in_a_row >= _MOST_DAMAGED_IN_A_ROW:
                raise self._error("broke off", f"the last {in_a_row} packets were damaged")
            for frame in whole:
                if frame.width * frame.height > self._max_pixels:
                    raise self._error(
                        "cannot be used",
                        f"its images have {frame.width}x{frame.height} pixels",
                        refused=True,
                    )
                first_s = frame.time if first_s is None else first_s
                yield (
                    upright_bgr(frame),
                    None if frame.time is None or first_s is None else frame.time - first_s,
                )

    def _next(self, packets: Iterator[Any]) -> tuple[list[Any] | None, str]:
        """Return the frames of the next packet, none and a problem where it is damaged; None at the
        end, with its reason if any.
        """
        try:
            packet = next(packets, None)
            return (None, "") if packet is None else (packet.decode(), "")
        except av.error.InvalidDataError:
            return [], "damaged"
        except av.error.EOFError:
            return None, ""
        except av.FFmpegError as error:
            return None, _reason(error)

    def _error(self, what: str, problem: str, *, refused: bool = False) -> SourceError:
        kind = SourceRefusedError if refused else SourceError
        return kind(f"{self._address.shown} {what}: {problem}")

    def close(self) -> None:
        """Ask the reading thread to stop at its next packet or time limit."""
        self._closed = True


def _reason(error: av.FFmpegError) -> str:
    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    if isinstance(error, av.error.InvalidDataError):
        return "what the server sends is no video that can be read"
    return (error.strerror or type(error).__name__).lower().removesuffix(" (authorization failed)")
