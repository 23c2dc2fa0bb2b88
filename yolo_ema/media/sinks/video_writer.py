"""Writes H.264 through PyAV so that the file plays even if it is cut short."""

from __future__ import annotations

import math
import os
from collections.abc import Set
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from yolo_ema.errors import DiskFullError
from yolo_ema.media.sinks.growing_file import GrowingFile
from yolo_ema.media.sinks.unique_paths import create_part, create_unique, move_unique

_TICKS = 90_000
"""Lower bound of ticks per second: every frame rate and every arrival time falls on a tick."""
_TICKS_OF_RARE_FRAMES = 1_000
"""The same for less than a frame per second: MP4 holds the time between two frames in 32 bits."""
_LOWEST_RATE = Fraction(1, 1000)
"""Encoders take no lower one; each frame has its own time all the same."""
_BT709 = 1  # primaries and transfer of nearly all cameras, as ITU-T H.273 numbers them
_THREADS = 4
"""The encoder holds back one frame per thread."""
_PLAYS_FROM = 2
"""The muxer writes a frame's fragment when the next frame comes."""


class VideoWriter:
    """An H.264 mp4 whose every frame is on disk as soon as it is encoded: it plays at any moment,
    after a kill too.

    Frames are written as fragments of one frame each; `close` adds the index that makes the file an
    ordinary mp4. The file gets its name with its first fragment, so that nothing under a name is
    empty.

    Attributes:
        path: the file: the name it has, or the one it is meant to get.
    """

    def __init__(
        self,
        path: Path,
        *,
        frame_rate: Fraction,
        image_wh: tuple[int, int],
        is_live: bool = False,
        pixel_aspect: Fraction | None = None,
        reserved: Set[str] = frozenset(),
    ) -> None:
        """Start a new file; if ``path`` is taken it becomes ``name-2.mp4``, ``name-3.mp4``, ….

        Args:
            path: the file; its folder is created if missing.
            frame_rate: frames per second.
            image_wh: pixels; odd sizes are padded by one pixel, since H.264's usual form (4:2:0)
                needs even ones.
            is_live: hold no frame back in the encoder, at the price of a larger file.
            pixel_aspect: width of a pixel divided by its height, for players; None for square ones.
            reserved: stems of other videos, in folded case, which a numbered name never takes; the
                set may grow.

        Raises:
            DiskFullError: there is no space left.
        """
        self.path, self._reserved = path, reserved
        if os.name == "nt":  # Windows renames no open file
            self.path, file = create_unique(path.parent, path.stem, path.suffix, reserved)
            self._part: Path | None = None
        else:
            self._part, file = create_part(path.parent)
        self._disk = _Disk(GrowingFile(path, file, "it plays as far as it goes"))
        self._packets = 0
        options = {"movflags": "hybrid_fragmented+frag_every_frame", "flush_packets": "1"}
        self._container = av.open(self._disk, "w", format="mp4", options=options)
        rate = max(frame_rate, _LOWEST_RATE).limit_denominator(65535)
        ticks = _TICKS if rate >= 1 else _TICKS_OF_RARE_FRAMES
        self._ticks_per_s = rate.numerator * max(1, round(ticks / rate.numerator))
        self._frame_ticks = max(1, round(self._ticks_per_s / rate))
        self._last_tick, self._last_s, self._offset = -self._frame_ticks, -math.inf, 0
        self._stream = self._new_stream(rate, image_wh, is_live)
        self._stream.codec_context.sample_aspect_ratio = pixel_aspect or Fraction(1)

    def _new_stream(
        self, rate: Fraction, image_wh: tuple[int, int], is_live: bool
    ) -> av.VideoStream:
        width, height = image_wh
        # Without B-frames and lookahead the encoder holds back next to nothing, so a kill costs
        # next to nothing.
        settings = {
            "preset": "veryfast",
            "crf": "20",
            "bf": "0",
            "rc-lookahead": "0",
            "threads": str(_THREADS),
        }
        stream = self._container.add_stream(
            "libx264", rate=rate, options=settings | ({"tune": "zerolatency"} if is_live else {})
        )
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.gop_size = max(1, round(rate))
        # The matrix that converters use by default, stated: players assume another one for high
        # definition.
        stream.codec_context.colorspace = Colorspace.SMPTE170M
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = stream.codec_context.color_trc = _BT709
        stream.codec_context.time_base = stream.time_base = Fraction(1, self._ticks_per_s)
        return stream

    def write(self, image_bgr: np.ndarray, time_s: float | None = None) -> None:
        """Append a frame.

        Args:
            image_bgr: (H, W, 3) uint8.
            time_s: when it is shown, in seconds since the start of the video, so that frames that
                arrive irregularly play at their real speed, bursts of a live source too. If it is
                missing or not later than the last one, the frame follows one frame time later.

        Raises:
            DiskFullError: there is no space left; the file plays as far as it goes.
        """
        height, width = image_bgr.shape[:2]
        if height % 2 or width % 2:
            image_bgr = np.pad(image_bgr, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(image_bgr, format="bgr24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.SMPTE170M, dst_color_range=ColorRange.MPEG
        )
        frame.pts = self._tick(time_s)
        frame.time_base = Fraction(1, self._ticks_per_s)
        self._mux(frame)

    def _tick(self, time_s: float | None) -> int:
        """Return when the frame is shown, always later than the one before; times that jump back
        continue from where they were.
        """
        following = self._last_tick + self._frame_ticks
        if time_s is None:
            time_s = (following - self._offset) / self._ticks_per_s
        elif time_s <= self._last_s:
            self._offset = following - self._on_the_beat(time_s)
        tick = self._on_the_beat(time_s) + self._offset
        if tick <= self._last_tick:  # a burst: each of its frames is a little late, later ones not
            tick = max(round(time_s * self._ticks_per_s) + self._offset, self._last_tick + 1)
        self._last_tick, self._last_s = tick, time_s
        return tick

    def _on_the_beat(self, time_s: float) -> int:
        """Return a time in ticks, corrected where the container had rounded it to milliseconds."""
        tick = round(time_s * self._ticks_per_s)
        beat = round(tick / self._frame_ticks) * self._frame_ticks
        return beat if abs(tick - beat) <= self._ticks_per_s // 1000 else tick

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._frame_ticks  # until the next frame says otherwise
            self._container.mux(packet)
            self._packets += 1
        self._disk.raise_if_full()
        if self._packets >= _PLAYS_FROM:
            self._publish()

    def _publish(self) -> None:
        """Give the file its name, if it has none yet."""
        if self._part is not None:
            name = self.path.parent, self.path.stem, self.path.suffix
            self.path = move_unique(self._part, *name, self._reserved)
            self._part = None

    def close(self) -> None:
        """Write what is still held back and complete the file. Calling it again does nothing.

        Raises:
            DiskFullError: there is no space left; the file plays as far as it goes.
        """
        if self._disk.closed:
            return
        reported_before = self._disk.full is not None
        try:
            if not reported_before:
                self._mux(None)
        finally:
            # On a full disk the end is left out: a half-written index would spoil what plays.
            self._disk.closed = self._disk.full is not None
            self._container.close()
            self._disk.end()
            if self._part is not None and self._disk.full is None and self._packets:
                self._publish()
            elif self._part is not None:
                self._part.unlink(missing_ok=True)
        if not reported_before:
            self._disk.raise_if_full()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Disk:
    """The file as PyAV writes to it. Once the disk is full, nothing more reaches the file, and it
    ends where it was whole.
    """

    def __init__(self, file: GrowingFile) -> None:
        self._file = file
        self.full: DiskFullError | None = None
        self.closed = False

    def write(self, content: bytes) -> int:
        if self.full is None:
            try:
                self._file.write(content)
            except DiskFullError as error:  # raised inside FFmpeg's callback it would be lost
                self.full = error
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def raise_if_full(self) -> None:
        if self.full is not None:
            raise self.full

    def end(self) -> None:
        self.closed = True
        self._file.close()
