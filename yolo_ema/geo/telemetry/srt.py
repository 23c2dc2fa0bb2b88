"""Subtitles that drones write: a file beside the video, or a track inside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.pose import LostSample
from yolo_ema.geo.telemetry.dialects import SRT_DIALECTS, SrtDialect
from yolo_ema.geo.telemetry.reading import Field, Reading, Sample, number, values_of
from yolo_ema.io.text_files import decode_text

# Repeats are bounded: a file made to take long to search is searched in linear time, too.
_NUMBER = r"[-+]?(?:\d{1,12}(?:[.,]\d{1,16}|\.)?|\.\d{1,16})(?:[eE][-+]?\d{1,3})?"
_MOMENT = r"(?:(\d{1,3}):)?(\d\d):(\d\d)(?:[,.](\d{1,3}))?"
_TIMES = re.compile(rf"^\D{{0,3}}{_MOMENT}\s*-->\s*{_MOMENT}(?![\d:])", re.MULTILINE)
_CLOCK = re.compile(
    r"(\d{4})[-.](\d{1,2})[-.](\d{1,2}) (\d{1,2}):(\d\d):(\d\d)(?:[.,](\d{1,3}))?", re.ASCII
)
_MARKUP = re.compile(r"<[^<>]*>")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
# What follows a number and may say minutes or a hemisphere.
_REST = r"(?:\s?(?:°|deg|[NSEW]\b)[^:\[\]]{0,24})?"
_IN_BRACKETS = re.compile(
    rf"([A-Za-z_][\w. ]{{0,40}}?)\s{{0,8}}:\s{{0,8}}({_NUMBER}{_REST})(?![.,\d]{{0,40}}\d)"
)
_CALL = re.compile(r"\b([A-Za-z][A-Za-z.]{0,20})\s{0,8}\(([^()]{0,200})\)")
# What no sign follows may be cut off: the file may end there.
_WORD = re.compile(
    rf"\b([A-Za-z][A-Za-z._]{{0,20}})[ :]\s{{0,8}}"
    rf"({_NUMBER}\s?(?:[mM](?![\w/])|[fF][tT])?)(?=[\s,])"
)
_FEET = re.compile(r"\d\s?ft", re.IGNORECASE)
_FOOT_M = 0.3048
_PLACE = frozenset({"latitude_deg", "longitude_deg"})
_DEGREE_M = 111_320.0
_COARSE_M = 0.5
_ORDERS = {"longitude, latitude": (1, 0), "latitude, longitude": (0, 1)}


@dataclass(frozen=True)
class Cue:
    """One subtitle; the times are None where the file has none."""

    text: str
    start_s: float | None = None
    end_s: float | None = None


def read_srt(path: Path) -> Reading:
    """Read a subtitle file.

    Raises:
        TelemetryError: it is empty, or no subtitle has a position.
    """
    return read_cues(list(_cues(decode_text(path.read_bytes()))), "srt")


def read_cues(cues: Sequence[Cue], source: str) -> Reading:
    """Read subtitles.

    Raises:
        TelemetryError: there are none, or none has a position.
    """
    if not cues:
        raise TelemetryError("it has no subtitles", "not_found")
    records = [_record(cue.text) for cue in cues]
    dialect = _dialect_of(records)
    if dialect is None:
        keys = ", ".join(sorted({key for record in records for key in record})[:12]) or "none"
        raise TelemetryError(
            f"none of its {len(cues)} subtitles has a position; fields found: {keys}",
            "no_position",
        )
    reading = Reading(source, assumptions=[f"subtitles read as {dialect.name}", *dialect.says])
    fields = dialect.fields
    if dialect.pair_order:
        fields = (*_pair_fields(dialect, records, reading), *fields)
    times, above_sea = _times_s(cues, reading), any(f.key == "abs_alt" for f in dialect.fields)
    datum = "sea level" if above_sea else "unknown"
    for record, time_s in zip(records, times, strict=True):
        values = values_of(fields, record)
        if time_s is None:
            continue
        if "latitude_deg" in values and "longitude_deg" in values:
            reading.samples.append(Sample(time_s, values, datum))
        else:
            written = any(
                field.key in record and field.value(record[field.key]) is None
                for field in fields
                if field.to in _PLACE
            )
            reading.lost.append(LostSample(time_s, "no_fix" if written else "no_position"))
    _say_scaled(fields, records, reading)
    _say_coarse(fields, records, reading)
    ends = [cue.end_s for cue in cues if cue.end_s is not None]
    reading.length_s = max(ends, default=None)
    if cues[-1].end_s is not None and cues[-1].start_s is not None:
        reading.hold_s = max(cues[-1].end_s - cues[-1].start_s, 0.0)
    return reading


def _cues(text: str) -> Iterator[Cue]:
    """Split a file; what stands after the last whole line with times is the last one's text."""
    matches = _TIMES.finditer(text)
    marks = [mark for mark in matches if (mark[1] is None) == (mark[5] is None)]  # none cut off
    if not marks:
        yield from (Cue(block) for block in re.split(r"\n\s*\n", text) if block.strip())
        return
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        start_s, end_s = (_seconds(mark.groups()[i : i + 4]) for i in (0, 4))
        yield Cue(text[mark.end() : following.start() if following else None], start_s, end_s)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds = (int(part or 0) for part in parts[:3])
    return hours * 3600 + minutes * 60 + seconds + int((parts[3] or "0").ljust(3, "0")) / 1000


def _record(text: str) -> dict[str, list[str]]:
    """Return the numbers of a subtitle, as they stand, by their names."""
    text = _MARKUP.sub(" ", text).replace("\u2212", "-")
    record: dict[str, list[str]] = {}
    for key, value in _IN_BRACKETS.findall("]".join(_BRACKETS.findall(text))):
        record.setdefault(key.strip().lower(), [value.replace(",", ".")])
    rest = _BRACKETS.sub(" ", text)
    for key, content in _CALL.findall(rest):
        record.setdefault(f"{key.lower()}()", content.split(","))
    for key, value in _WORD.findall(_CALL.sub(" ", rest)):
        metres = number(value)
        if _FEET.search(value) and metres is not None:
            value = f"{metres * _FOOT_M:.3f}"
        record.setdefault(key.lower(), [value])
    return record


def _dialect_of(records: Iterable[Mapping[str, Sequence[str]]]) -> SrtDialect | None:
    """Return the dialect of most subtitles that have one: single ones may be cut off."""
    places = (
        next((index for index, d in enumerate(SRT_DIALECTS) if d.needs <= record.keys()), None)
        for record in records
    )
    counts = Counter(index for index in places if index is not None)
    return SRT_DIALECTS[counts.most_common(1)[0][0]] if counts else None


def _pair_fields(
    dialect: SrtDialect, records: Iterable[Mapping[str, Sequence[str]]], reading: Reading
) -> tuple[Field, Field]:
    """Return where latitude and longitude stand in ``GPS(…)``: a value beyond 90 degrees is a
    longitude, in the whole file; without one the models' usual order holds.
    """
    pairs = [record["gps()"] for record in records if "gps()" in record]
    beyond = [
        any((number(pair[index]) or 0.0) ** 2 > 90**2 for pair in pairs if index < len(pair))
        for index in (0, 1)
    ]
    order, basis = dialect.pair_order, "as these models usually write it"
    if any(beyond):
        order = "longitude, latitude" if beyond[0] else "latitude, longitude"
        basis = "by values beyond 90 degrees"
    if all(beyond):
        raise TelemetryError("both values of GPS(…) exceed 90 degrees: none is a latitude")
    reading.assumptions.append(f"GPS(a, b) is {order}, {basis}")
    first, second = _ORDERS[order]
    return Field("gps()", "latitude_deg", at=first), Field("gps()", "longitude_deg", at=second)


def _times_s(cues: Sequence[Cue], reading: Reading) -> list[float | None]:
    """Return each subtitle's start, or, where the file has no times, that of its clock's reading
    since the first of them.
    """
    if any(cue.start_s is not None for cue in cues):
        return [cue.start_s for cue in cues]
    clocks = [_clock(cue.text) for cue in cues]
    first = next((clock for clock in clocks if clock is not None), None)
    if first is None:
        raise TelemetryError("its subtitles have no times", "no_common_clock")
    reading.assumptions.append(
        "the subtitles have no times: those of the drone's clock count, from the first one on, "
        "which is taken for the first frame's"
    )
    return [None if clock is None else (clock - first).total_seconds() for clock in clocks]


def _clock(text: str) -> datetime | None:
    """Return the drone's clock, whose time zone is unknown."""
    match = _CLOCK.search(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    microsecond = int((match[7] or "0").ljust(3, "0")) * 1000
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=timezone.utc)
    except ValueError:
        return None


def _say_scaled(
    fields: Iterable[Field], records: Iterable[Mapping[str, Sequence[str]]], reading: Reading
) -> None:
    """Say once how a focal length other than a plain number of millimetres was read."""
    for field in fields:
        if field.to != "focal_35mm":
            continue
        text = next((record[field.key][0] for record in records if field.key in record), None)
        value = field.value([text]) if text else None
        if value is not None and value != number(text or ""):
            reading.assumptions.append(f"{field.key} {text} is {value:g} mm in 35 mm equivalents")


def _say_coarse(
    fields: Iterable[Field], records: Sequence[Mapping[str, Sequence[str]]], reading: Reading
) -> None:
    """Say in which steps positions stand, where these are as coarse as the receiver's own error."""
    steps = [
        field.scale / 10 ** len(record[field.key][field.at].strip().partition(".")[2])
        for field in fields
        if field.to in _PLACE
        for record in records
        if field.at < len(record.get(field.key, ()))
    ]
    step_m = _DEGREE_M * min(steps, default=0.0)
    if step_m > _COARSE_M:
        reading.position_step_m = step_m
        reading.assumptions.append(f"positions are written in steps of {step_m:.0f} m")
