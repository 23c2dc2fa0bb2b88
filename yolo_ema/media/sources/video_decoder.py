"""From a video's packets to upright BGR frames with times, for files and streams alike."""

from __future__ import annotations

import itertools
import math
import struct
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.filter import Graph
from av.stream import Disposition

from yolo_ema.errors import SourceRefusedError
from yolo_ema.media.sources.gif_packets import GifPackets
from yolo_ema.media.sources.presentation_times import PresentationTimes

_TS_DISCONT = 0x0200
"""FFmpeg's AVFMT_TS_DISCONT: recordings of the format may be joined end to end."""
_COLOUR_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
_BT709, _BT2020 = 1, 9
_NEAREST_MATRIX = {3: 2, 8: _BT709, 12: _BT709, 16: _BT709, 17: _BT709}
"""Of the matrices of ITU-T H.273 that FFmpeg's converter refuses; the rest are wide-gamut ones."""
_MATRIX_NAMES = {2: "BT.601", _BT709: "BT.709", _BT2020: "BT.2020"}


class VideoDecoder:
    """Decodes the main video stream of an open container, packet by packet.

    Attributes:
        stream: the stream that FFmpeg would choose.
        damaged: how many packets could not be decoded, and how many frames were damaged, so far.
        notes: what the user should know of the frames, each once.
        pixel_aspect: width of a pixel divided by its height, of upright frames; None if square or
            not stated.
    """

    def __init__(
        self,
        container: Any,
        name: str,
        *,
        max_pixels: int,
        keep_damaged: bool,
        origin_s: float | None = None,
        wanted_s: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        """Choose the stream.

        Args:
            container: opened by PyAV, with a video stream.
            name: of the source, for errors.
            max_pixels: refuse larger frames, before they are decoded where the header tells.
            keep_damaged: yield frames that the decoder has marked as damaged too.
            origin_s: see `PresentationTimes`.
            wanted_s: damage counts from the first of these times on, and before the second.

        Raises:
            SourceRefusedError: its codec is unknown, or its frames are too large.
        """
        self.stream = _main_stream(container, name)
        self.damaged = 0
        self.notes: list[str] = []
        self.pixel_aspect: Fraction | None = None
        self._name, self._max_pixels, self._keep_damaged = name, max_pixels, keep_damaged
        self._origin_s, self._wanted_s = origin_s or 0.0, wanted_s
        self._check_size(self.stream.width, self.stream.height)
        # Of a damaged JPEG, FFmpeg would otherwise give what it could guess, and say nothing.
        strict = {"err_detect": "explode"} if self.stream.codec_context.name == "mjpeg" else {}
        self.stream.codec_context.options = {"max_pixels": str(max_pixels), **strict}
        # Threads that decode a frame each hold frames back, and lose them at damage.
        self.stream.thread_type = "SLICE"
        if self.stream.codec_context.name == "h264":
            # With several threads FFmpeg does not mark a frame of which slices are missing.
            self.stream.codec_context.thread_count = 1
        if self.stream.codec_context.name == "libdav1d":
            self.stream.codec_context.flags |= av.codec.context.Flags.low_delay
        self._times = PresentationTimes(
            self.stream,
            joined=bool(container.format.flags & _TS_DISCONT),
            origin_s=origin_s,
        )
        self._deinterlacer: _Deinterlacer | None = None
        self._gif = GifPackets() if self.stream.codec_context.name == "gif" else None

    def decode(self, packet: Any) -> Iterator[tuple[np.ndarray, float]]:
        """Yield the frames that a packet completes, (H, W, 3) uint8 BGR, and their times in
        seconds, rising.

        Raises:
            SourceRefusedError: a frame is too large.
        """
        if not packet.size:  # stands for a repeated frame; to a decoder it would be the end
            return
        self._times.see(packet)
        torn = self._gif.damaged_frames(bytes(packet)) if self._gif is not None else 0
        try:
            frames = packet.decode()
        except av.FFmpegError:
            # The decoder refuses frames above its limit in the same way as damaged ones.
            self._check_size(self.stream.codec_context.width, self.stream.codec_context.height)
            time_s = self.time_of(packet)
            self._count_damage(max(torn, 1), self._wanted_s[0] if time_s is None else time_s)
            return
        self.damaged += torn
        yield from self._ready(frames)

    def flush(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield the frames that were held back, at the end of the stream."""
        try:
            yield from self._ready(self.stream.decode(None))
        except av.FFmpegError:
            self.damaged += 1
        if self._gif is not None and not self._gif.ended:
            self.notes.append("the GIF has no end mark: frames after the last one may be missing")
        if self._deinterlacer is not None:
            yield from map(self._finished, self._deinterlacer.flush())

    def _ready(self, frames: list[Any]) -> Iterator[tuple[np.ndarray, float]]:
        for frame in frames:
            self._check_size(frame.width, frame.height)
            if frame.is_corrupt and not self._keep_damaged:
                self.damaged += 1
                continue
            time_s = self._times.of(frame)
            self._count_damage(int(frame.is_corrupt), time_s)
            yield from self._converted(_Timed(frame, time_s, _turn_of(frame)))

    def time_of(self, packet: Any) -> float | None:
        """Return when a packet's frame is shown, as far as the packet says."""
        if packet.pts is None or packet.time_base is None:
            return None
        return float(packet.pts * packet.time_base) - self._origin_s

    def _count_damage(self, number: int, time_s: float) -> None:
        if self._wanted_s[0] <= time_s < self._wanted_s[1]:
            self.damaged += number

    def _converted(self, timed: _Timed) -> Iterator[tuple[np.ndarray, float]]:
        if self._deinterlacer is None and timed.frame.interlaced_frame:
            self._deinterlacer = _Deinterlacer()
            self.notes.append("the video is interlaced: its frames are deinterlaced")
        if self._deinterlacer is None:
            yield self._finished(timed)
        else:
            yield from map(self._finished, self._deinterlacer.push(timed))

    def _finished(self, timed: _Timed) -> tuple[np.ndarray, float]:
        image = _upright(self._to_bgr(timed.frame), timed.turn)
        aspect = self.stream.codec_context.sample_aspect_ratio or self.stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self.pixel_aspect = 1 / Fraction(aspect) if timed.turn[0] else Fraction(aspect)
        return image, timed.time_s

    def _to_bgr(self, frame: Any) -> np.ndarray:
        if frame.colorspace not in _COLOUR_MATRICES and not frame.format.name.startswith("gbr"):
            nearest = _NEAREST_MATRIX.get(frame.colorspace, _BT2020)
            note = (
                f"colour matrix {frame.colorspace} of ITU-T H.273 cannot be converted: "
                f"{_MATRIX_NAMES[nearest]} is used instead, so colours may be off"
            )
            if note not in self.notes:
                self.notes.append(note)
            frame.colorspace = nearest
        if frame.color_range not in {0, 1, 2}:
            frame.color_range = 0
        image: np.ndarray = frame.to_ndarray(format="bgr24")
        return image

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise SourceRefusedError(
                f"{self._name} cannot be used: its frames have {width}x{height} = "
                f"{width * height / 1e6:.0f} million pixels, expected at most "
                f"{self._max_pixels / 1e6:g} million (--max-pixels)"
            )


_IMAGE_CODECS = frozenset(["bmp", "gif", "mjpeg", "png", "tiff", "webp"])


def _main_stream(container: Any, name: str) -> Any:
    """Return the video stream to read, as ffmpeg does: no cover image, rather the default one, then
    one that is not a series of images (covers in Matroska are not marked as such), then the
    largest, then the first choice of its library.

    Raises:
        SourceRefusedError: FFmpeg knows the codec of none, as where a header is damaged.
    """
    streams = [s for s in container.streams.video if s.codec_context is not None]
    if not streams:
        raise SourceRefusedError(
            f"{name} cannot be used: its video is in a codec that FFmpeg does not know; the header "
            f"may be damaged"
        )
    moving = [s for s in streams if not s.disposition & Disposition.attached_pic] or streams
    clips = [s for s in moving if s.frames != 1] or moving
    best = container.streams.best("video")
    return max(
        clips,
        key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            stream.codec_context.name not in _IMAGE_CODECS,
            stream.width * stream.height,
            best is not None and stream.index == best.index,
        ),
    )


class _Timed(NamedTuple):
    """A decoded frame with its time, and how to turn it: see `_turn_of`."""

    frame: Any
    time_s: float
    turn: tuple[bool, bool, bool]


class _Deinterlacer:
    """Makes whole frames of interlaced ones; progressive frames pass unchanged. Each frame comes
    out when the next one is in.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape: tuple[int, int, str] | None = None
        self._waiting: deque[_Timed] = deque()
        self._pushed = 0

    def push(self, timed: _Timed) -> Iterator[_Timed]:
        frame = timed.frame
        shape = (frame.width, frame.height, frame.format.name)
        if shape != self._shape:
            yield from self.flush()
            self._graph, self._shape = _bwdif(*shape), shape
        self._pushed += 1
        frame.pts, frame.time_base = self._pushed, Fraction(1, 25)
        self._waiting.append(timed)
        self._graph.push(frame)  # type: ignore[union-attr]
        yield from self._out()

    def flush(self) -> Iterator[_Timed]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._out()
        self._graph = self._shape = None
        self._waiting.clear()

    def _out(self) -> Iterator[_Timed]:
        while self._waiting:
            try:
                frame = self._graph.pull()  # type: ignore[union-attr]
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            timed = self._waiting.popleft()
            yield timed._replace(frame=frame)


def _bwdif(width: int, height: int, pixel_format: Any) -> Graph:
    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=width, height=height, format=pixel_format, time_base=Fraction(1, 25)
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ]
    for before, after in itertools.pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return graph


def _turn_of(frame: Any) -> tuple[bool, bool, bool]:
    """Return whether a frame is shown transposed, then mirrored left to right, then upside down, as
    its display matrix says; a matrix that does none of these exactly is ignored.
    """
    matrix = next((d for d in frame.side_data if d.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return False, False, False
    # x' = a·x + c·y and y' = b·x + d·y
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))
    straight, across = min(abs(a), abs(d)), min(abs(b), abs(c))
    if 50 * max(abs(b), abs(c)) < straight:
        return False, a < 0, d < 0
    if 50 * max(abs(a), abs(d)) < across:
        return True, c < 0, b < 0
    return False, False, False


def _upright(image: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
    transposed, mirrored, flipped = turn
    if not any(turn):
        return image
    image = image.swapaxes(0, 1) if transposed else image
    return np.ascontiguousarray(image[:: -1 if flipped else 1, :: -1 if mirrored else 1])
