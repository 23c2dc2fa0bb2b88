"""ExifTool's JSON, of stills and of videos whose tracks only ExifTool reads (``djmd``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.pose import LostSample
from yolo_ema.geo.telemetry.dialects import EXIFTOOL_FIELDS
from yolo_ema.geo.telemetry.reading import Reading, Sample, number, values_of
from yolo_ema.io.namesakes import counterparts

_DOCUMENT = re.compile(r"Doc\d+(?:-\d+)*", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?(?:Z|\+00:00)")
_REFS = {"latitude_deg": ("gpslatituderef", "S"), "longitude_deg": ("gpslongituderef", "W")}


def is_exiftool(content: Any) -> bool:
    """Say whether the content of a JSON file is ExifTool's."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(record, dict) and "SourceFile" in record for record in content)
    )


def read_exiftool(content: Any, source: Path | None = None) -> Reading:
    """Read the objects of ``exiftool -ee -G3 -n -j``, one for each file.

    Args:
        content: what the JSON holds.
        source: the video; where several are described, the one of its name counts.

    Raises:
        TelemetryError: none of them has positions, or the samples have no times.
    """
    reading = Reading("exiftool")
    videos: dict[str, dict[str, dict[str, str]]] = {}
    for record in content:
        name = str(record["SourceFile"]).replace("\\", "/")
        documents = _documents(record)
        main = documents.pop("", {})
        if any(_has_place(record) for record in documents.values()):
            videos[name] = documents
        elif _has_place(main):
            values = _values(main)
            if "latitude_deg" in values and "longitude_deg" in values:
                reading.tell(name, Sample(0.0, values, "unknown", _utc(main)))
    if videos:
        _read_video(videos[_video_of(source, list(videos))], reading)
    if not reading.samples and not reading.stills:
        raise TelemetryError(
            "ExifTool found no positions; expected GPSLatitude and GPSLongitude, of a video with "
            "the options -ee -G3",
            "no_position",
        )
    return reading


def _video_of(source: Path | None, videos: Sequence[str]) -> str:
    """Return the one that is meant of the videos described: the only one, or by name and folder."""
    clip_path = str(source or "")
    clip = Path(clip_path).name
    named = [name for name in videos if Path(name).name == clip]
    meant = videos if len(videos) == 1 else counterparts([clip_path], named)[clip_path]
    if not meant:
        which = f"{len(named)} are" if named else "none is"
        raise TelemetryError(
            f"it describes {len(videos)} videos, and {which} called {clip!r}", "other_clip"
        )
    return meant[0]


def _read_video(documents: Mapping[str, Mapping[str, str]], reading: Reading) -> None:
    """Read the samples of a video, each of which ExifTool calls a document."""
    time_s: float | None = None
    for record in documents.values():
        stated_s = _seconds(record.get("sampletime", ""))
        time_s = stated_s if stated_s is not None else time_s  # parts of a sample follow it
        if not _has_place(record):
            continue
        if time_s is None:
            raise TelemetryError(
                "its samples have no SampleTime; expected ExifTool's output with -ee -G3",
                "no_common_clock",
            )
        values = _values(record)
        if "latitude_deg" in values and "longitude_deg" in values:
            reading.samples.append(Sample(time_s, values, "unknown", _utc(record)))
        else:
            reading.lost.append(LostSample(time_s, "no_position"))


def _documents(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the tags, in lower case and without their groups, of each document in a file."""
    documents: dict[str, dict[str, str]] = {}
    for key, value in record.items():
        *groups, tag = key.split(":")
        document = next((group for group in groups if _DOCUMENT.fullmatch(group)), "")
        documents.setdefault(document, {}).setdefault(tag.lower(), str(value))
    return documents


def _has_place(record: Mapping[str, str]) -> bool:
    return any(field.key in record for field in EXIFTOOL_FIELDS if field.to == "latitude_deg")


def _values(record: Mapping[str, str]) -> dict[str, float]:
    values = values_of(EXIFTOOL_FIELDS, {key: [text] for key, text in record.items()})
    for name, (ref, negative) in _REFS.items():
        if name in values and record.get(ref, "").upper().startswith(negative):
            values[name] = -abs(values[name])
    stated = (record.get("gpsaltituderef", ""), record.get("gpsaltitude", ""))
    below = stated[0].startswith("1") or any("below" in text.lower() for text in stated)
    if below and "altitude_m" in values and "absolutealtitude" not in record:
        values["altitude_m"] = -abs(values["altitude_m"])
    return values


def _seconds(text: str) -> float | None:
    """Return a time such as ``0.03``, ``0.03 s`` or ``0:01:02.5`` in seconds."""
    match = _CLOCK.search(text)
    if match is None:
        return number(text)
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


def _utc(record: Mapping[str, str]) -> datetime | None:
    match = _DATE.match(record.get("gpsdatetime", ""))
    if match is None:
        return None
    *whole, part = match.groups()
    try:
        moment = datetime(*map(int, whole), tzinfo=timezone.utc)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    return moment + timedelta(seconds=float(part or 0))
