"""Where a long video can be cut, so that its parts, read apart, have exactly its frames."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av

from yolo_ema.io.video_files import open_video
from yolo_ema.media.sources.lost_frames import LostFrames

_CONTAINERS = ("mov", "matroska")
"""Their packets carry presentation times, and a key frame can be found by its time."""
_CODECS = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg4", "vp9"})
"""A packet of theirs is a frame."""


@dataclass(frozen=True)
class VideoSpan:
    """Part of a video: the frames with start_s ≤ time < end_s.

    Attributes:
        start_s: seconds since the video's first frame; a key frame's time.
        end_s: infinite for the last part.
        first_frame: the 0-based number of its first frame in the video.
        seek_ticks: where to begin to read, in ticks of the stream.
        origin_s: the stream's own time of the video's first frame.
    """

    start_s: float
    end_s: float
    first_frame: int
    seek_ticks: int
    origin_s: float


class CutVideo(NamedTuple):
    """The parts of a video: none where it stays whole.

    Attributes:
        spans: in order; together they hold every frame once.
        reason: why a video that is longer than a part is not cut; "" if it is, or is short.
    """

    spans: tuple[VideoSpan, ...]
    reason: str = ""


class _Packet(NamedTuple):
    pts: int
    seek_ticks: int


def _never() -> bool:
    return False


def cut_video(path: Path, segment_s: float, stopped: Callable[[], bool] = _never) -> CutVideo:
    """Cut a video at the first key frame after every ``segment_s`` seconds.

    A video that is longer is read through once, without decoding it. One that cannot be opened has
    no parts: whoever reads it says why. Once ``stopped`` says so, nothing more is read.
    """
    try:
        with open_video(path) as video:
            stated_s = (video.duration or 0) / 1e6
            if not video.streams.video or 0 < stated_s <= segment_s:
                return CutVideo(())
            return _cut(video, segment_s, stopped)
    except (av.FFmpegError, OSError):
        return CutVideo(())


def stated_duration_s(path: Path) -> float | None:
    """Return how long a video is, in seconds, as its file states; None where it does not."""
    try:
        with open_video(path) as video:
            streams = video.streams.video
            if not streams or streams[0].codec_context is None:
                return None
            return LostFrames(video, streams[0]).stated_s() or None
    except (av.FFmpegError, OSError):
        return None


def span_from(path: Path, start_s: float) -> VideoSpan | None:
    """Return the part of a video from its last key frame at or before ``start_s`` to its end.

    The file is read up to there without decoding it, which tells the number of each frame. None
    where it has to be decoded from its beginning: it cannot be cut, or the first key frame is the
    one.
    """
    try:
        with open_video(path) as video:
            if not video.streams.video or _unfit(video):
                return None
            stream = video.streams.best("video")
            keys, times, reason = _packets(video, stream, until_s=start_s)
    except (av.FFmpegError, OSError):
        return None
    if reason or not keys:
        return None
    origin_s = float(times[0] * stream.time_base)
    before = [(float(key.pts * stream.time_base) - origin_s, key) for key in sorted(keys)]
    key_s, key = max((pair for pair in before if pair[0] <= start_s), default=before[0])
    if key == before[0][1]:
        return None
    return VideoSpan(key_s, math.inf, bisect.bisect_left(times, key.pts), key.seek_ticks, origin_s)


def _cut(video: Any, segment_s: float, stopped: Callable[[], bool]) -> CutVideo:
    if reason := _unfit(video):
        return CutVideo((), reason)
    stream = video.streams.best("video")
    keys, times, reason = _packets(video, stream, stopped=stopped)
    if reason:
        return CutVideo((), reason)
    return CutVideo(_spans(keys, times, stream, segment_s))


def _unfit(video: Any) -> str:
    """Say why a container or codec cannot be cut; "" where it can."""
    if not video.format.name.startswith(_CONTAINERS) or len(video.streams.video) > 1:
        return f"{video.format.name} with {len(video.streams.video)} video streams"
    stream = video.streams.best("video")
    if stream is None or stream.codec_context is None:
        return "a codec that FFmpeg does not know"
    codec = stream.codec_context.codec.canonical_name
    return "" if codec in _CODECS else f"the codec {codec}"


def _packets(
    video: Any,
    stream: Any,
    *,
    until_s: float = math.inf,
    stopped: Callable[[], bool] = _never,
) -> tuple[list[_Packet], list[int], str]:
    """Return the key frames in the order they are stored, the presentation times of all frames,
    rising, and why the video cannot be cut; as far as the second key frame behind ``until_s``: what
    is shown before the first of them is stored before the second.
    """
    lost = LostFrames(video, stream)
    keys: list[_Packet] = []
    times: list[int] = []
    delays: set[int] = set()
    whole = True
    for packet in video.demux(stream):
        if stopped():
            return keys, times, "interrupted"
        lost.see(packet)
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None:
            return keys, times, "frames without times"
        if packet.is_corrupt:
            return keys, times, "damage"
        if not times and (not packet.is_keyframe or _is_interlaced(stream, packet)):
            return keys, times, "interlaced frames, or a beginning that is not a key frame"
        if packet.is_keyframe:
            before = packet.pts if packet.dts is None else packet.dts  # indexes hold either
            keys.append(_Packet(packet.pts, min(packet.pts, before)))
            if float((keys[max(-2, -len(keys))].pts - keys[0].pts) * stream.time_base) > until_s:
                whole = False
                break
        times.append(packet.pts)
        if packet.dts is not None:
            delays.add(packet.pts - packet.dts)
    in_order = sorted(times)
    if len(set(times)) < len(times) or (len(delays) == 1 and stream.codec_context.has_b_frames):
        return keys, in_order, "times that are not those of presentation"
    if lost.in_holes or (whole and lost.at_end(len(times))):
        return keys, in_order, "damage"
    return keys, in_order, ""


def _is_interlaced(stream: Any, packet: Any) -> bool:
    """Say whether the first frame is interlaced; damage counts as progressive."""
    try:
        frames = [*stream.decode(packet), *stream.decode(None)]
    except av.FFmpegError:
        return False
    return any(frame.interlaced_frame for frame in frames)


def _spans(
    keys: list[_Packet], times: list[int], stream: Any, segment_s: float
) -> tuple[VideoSpan, ...]:
    if not keys:
        return ()
    origin_s = float(times[0] * stream.time_base)
    cuts = list(_cuts(keys, origin_s, stream, segment_s))
    if len(cuts) < 2:
        return ()
    ends = [start_s for start_s, _ in cuts[1:]] + [math.inf]
    return tuple(
        VideoSpan(start_s, end_s, bisect.bisect_left(times, key.pts), key.seek_ticks, origin_s)
        for (start_s, key), end_s in zip(cuts, ends, strict=True)
    )


def _cuts(
    keys: list[_Packet], origin_s: float, stream: Any, segment_s: float
) -> Iterator[tuple[float, _Packet]]:
    """Yield the times and key frames at which parts begin."""
    yield 0.0, keys[0]
    due = itertools.count(1)
    next_s = next(due) * segment_s
    for key in sorted(keys[1:]):
        # Computed as when frames are read: equal to the last digit.
        start_s = float(key.pts * stream.time_base) - origin_s
        if start_s >= next_s:
            yield start_s, key
            while start_s >= next_s:
                next_s = next(due) * segment_s
