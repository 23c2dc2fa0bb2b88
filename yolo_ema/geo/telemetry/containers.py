"""Telemetry inside videos: subtitle tracks, data tracks, and the moment at which they begin."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.pose import LostSample
from yolo_ema.geo.telemetry.reading import Reading, utc_moment
from yolo_ema.geo.telemetry.srt import Cue, read_cues
from yolo_ema.geo.telemetry.st0601 import Packet, packets_in
from yolo_ema.io.video_files import open_video

_PREFIXED = {"mov_text"}  # two bytes of length, the text, then styles
_DJMD = (
    "it has a binary djmd track, which ExifTool reads: make its JSON with exiftool -ee -G3 -n -j "
    "VIDEO > VIDEO.json and give that file with --telemetry"
)
_FIRST_YEAR = 1990
_DJMD_NAMES = ("djmd", "dji meta")


class _Packet(NamedTuple):
    content: bytes
    time_s: float
    duration_s: float
    timed: bool


def read_subtitle_track(path: Path) -> Reading:
    """Read the subtitle track that DJI drones write into their videos.

    Raises:
        TelemetryError: there is none, or it has no positions.
    """
    with _opened(path) as container:
        stream = next(iter(container.streams.subtitles), None)
        if stream is None:
            djmd = any(
                word in str(data.metadata.get("handler_name", "")).lower()
                for data in container.streams.data
                for word in _DJMD_NAMES
            )
            raise TelemetryError(_DJMD if djmd else "it has no subtitle track", "not_found")
        prefixed = stream.codec_context.name in _PREFIXED if stream.codec_context else False
        cues = [
            Cue(
                _text(packet.content, prefixed=prefixed),
                packet.time_s,
                packet.time_s + packet.duration_s,
            )
            for packet in _packets(container, stream)
        ]
    reading = read_cues([cue for cue in cues if cue.text.strip()], "subtitles")
    reading.length_s = None  # the track is the video's own
    return reading


def read_klv(path: Path) -> Reading:
    """Read the data track of MISB ST 0601 in an MPEG transport stream.

    Packets without a time stamp of their own are of the newest frame before them.

    Raises:
        TelemetryError: there is none, or no packet can be used.
    """
    reading = Reading("klv")
    refused: list[str] = []
    seen = untimed = 0
    with _opened(path) as container:
        stream = _klv_stream(container)
        for packet in _packets(container, stream):
            for inner in packets_in(packet.content):
                seen += 1
                untimed += not packet.timed
                _take(reading, refused, inner, packet.time_s)
    if untimed:
        reading.assumptions.append(
            f"{untimed} of {seen} packets of MISB ST 0601 have no time stamp: each is taken to be "
            "of the newest frame before it"
        )
    return _checked(reading, refused, seen)


def _klv_stream(container: Any) -> Any:
    """Return the track named KLV, or else, in a transport stream, the first of unknown kind."""
    tracks = list(container.streams.data)
    named = [track for track in tracks if getattr(track, "name", None) == "klv"]
    if not named and "mpegts" in container.format.name:
        named = tracks
    if not named:
        raise TelemetryError("it has no data track of KLV", "not_found")
    return named[0]


def read_klv_file(path: Path) -> Reading:
    """Read packets of MISB ST 0601 that lie in a file one after another; they count by their UTC.

    Raises:
        TelemetryError: there are none, or none can be used.
    """
    reading = Reading("klv", clock="utc")
    refused: list[str] = []
    first_us = None
    packets = list(packets_in(path.read_bytes()))
    for packet in packets:
        time_us = None if isinstance(packet, TelemetryError) else packet.time_us
        if first_us is None:
            first_us = time_us
        time_s = 0.0 if time_us is None or first_us is None else (time_us - first_us) / 1e6
        _take(reading, refused, packet, time_s)
    return _checked(reading, refused, len(packets))


def creation_utc(path: Path) -> datetime | None:
    """Return the moment at which a video says that it was begun, or None where it does not."""
    try:
        with _opened(path) as container:
            text = container.metadata.get("creation_time", "")
    except TelemetryError:
        return None
    moment = utc_moment(text)
    # Cameras without a clock write their zero, 1904 or 1970.
    return None if moment is None or moment.year < _FIRST_YEAR else moment


def _take(
    reading: Reading, refused: list[str], packet: Packet | TelemetryError, time_s: float
) -> None:
    if isinstance(packet, TelemetryError):
        refused.append(str(packet))
        reading.lost.append(LostSample(time_s, "unreadable"))
        return
    sample = packet.sample(time_s)
    if sample is None:
        reading.lost.append(LostSample(time_s, "no_position"))
    else:
        reading.samples.append(sample)


def _checked(reading: Reading, refused: list[str], seen: int) -> Reading:
    """Raise where nothing came of it; say how many packets were refused."""
    if not seen:
        raise TelemetryError("its data holds no packets of MISB ST 0601", "not_found")
    if not reading.samples:
        detail = f": {refused[0]}" if refused else ", none of them with a position"
        raise TelemetryError(
            f"none of its {seen} packets of MISB ST 0601 can be used{detail}",
            "unreadable" if refused else "no_position",
        )
    if refused:
        reading.assumptions.append(
            f"{len(refused)} of {seen} packets of MISB ST 0601 were refused, the first because "
            f"{refused[0]}"
        )
    return reading


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    try:
        container = open_video(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise TelemetryError(f"it cannot be opened as a video: {error}") from error
    with container:
        try:
            yield container
        except (av.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, TelemetryError):
                raise
            raise TelemetryError(f"the video is damaged: {error}") from error


def _packets(container: Any, stream: Any) -> Iterator[_Packet]:
    """Yield a track's packets, with times since the video's first frame."""
    video = next(iter(container.streams.video), None)
    zero = 0.0
    if video is not None and video.start_time is not None:
        zero = float(video.start_time * video.time_base)
    newest = zero
    for packet in container.demux([s for s in (stream, video) if s is not None]):
        stamp = None if packet.pts is None else float(packet.pts * packet.time_base)
        if packet.stream is not stream:
            newest = max(newest, newest if stamp is None else stamp)
        elif packet.size:
            time_s = (newest if stamp is None else stamp) - zero
            duration_s = float((packet.duration or 0) * packet.time_base)
            yield _Packet(bytes(packet), time_s, duration_s, stamp is not None)


def _text(content: bytes, *, prefixed: bool) -> str:
    if prefixed:
        length = int.from_bytes(content[:2], "big")
        content = content[2 : 2 + length]
    return content.decode("utf-8", errors="replace")
