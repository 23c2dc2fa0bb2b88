"""What every reader of telemetry gives: samples with the quantities it found, by one set of names,
and tables that say which field of a format is which quantity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.pose import LostSample

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(Z|[-+]\d\d:?\d\d)?")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d+|\.)?|\.\d+)(?:[eE][-+]?\d+)?")
_PLAIN = re.compile(r"[-+]?(?:\d{1,12}(?:\.\d*|,\d{3,})?|\.\d+)(?:[eE][-+]?\d{1,3})?")
_LONGEST_PLACE = 60
_PART = r"(\d{1,2}(?:\.\d*)?)"
_SEXAGESIMAL = re.compile(
    rf"([-+]?\d{{1,3}})(?:\.0*)?\s*(?:°|deg|d|,|\s)\s*{_PART}\s*(?:['′m]|min|,|\s|$)\s*"
    rf"(?:{_PART}\s*(?:\"|″|''|s|sec)?)?\s*"
)
_SIDE = re.compile(
    r"^([NSEW])\s*(?=[-+\d.])|(?<=[\d.\"'′″°sg\s])([NSEW])[a-z]{0,4}$", re.IGNORECASE
)

QUANTITIES: dict[str, tuple[float, float]] = {
    "time_s": (-1e9, 1e9),
    "latitude_deg": (-90, 90),
    "longitude_deg": (-180, 360),
    "height_takeoff_m": (-12_000, 50_000),
    "altitude_m": (-12_000, 50_000),
    "ground_altitude_m": (-12_000, 9_000),
    "yaw_deg": (-360, 720),
    "pitch_deg": (-360, 360),
    "roll_deg": (-360, 360),
    "hfov_deg": (1e-3, 179.9),
    "focal_35mm": (1, 10_000),
    "zoom": (0.1, 1000),
    "sensor_aspect": (0.1, 10),
}
"""The quantities of a sample and the range outside which a value is not such a quantity.
``focal_35mm`` is in millimetres, ``zoom`` the factor of the digital zoom, ``sensor_aspect`` width
by height of the sensor; these become a field of view.
"""


_PLACE = frozenset({"latitude_deg", "longitude_deg"})


@dataclass(frozen=True)
class Field:
    """One field of a format and the quantity that it is: a row of a table.

    Attributes:
        key: its name in the file, in lower case.
        to: a name of `QUANTITIES`.
        scale, offset: the quantity is value x scale + offset.
        at: which of several values it is, as in ``GPS(8.7, 47.1, 18)``.
        read: makes the number from its text, where a factor does not.
    """

    key: str
    to: str
    scale: float = 1.0
    offset: float = 0.0
    at: int = 0
    read: Callable[[str], float | None] | None = None

    def value(self, texts: Sequence[str]) -> float | None:
        """Return the quantity, or None where the text has none or it cannot be one."""
        if self.at >= len(texts):
            return None
        read = self.read or (degrees if self.to in _PLACE else number)
        raw = read(texts[self.at])
        if raw is None:
            return None
        value = raw * self.scale + self.offset
        low, high = QUANTITIES[self.to]
        return value if low <= value <= high else None


@dataclass(frozen=True)
class Sample:
    """What one row of telemetry tells, by the names of `QUANTITIES`.

    Attributes:
        time_s: on the clock of the reading.
        values: the quantities found.
        altitude_datum: as in `Pose`.
        utc: the moment, where the telemetry tells it.
        camera: the calibrated camera, where there is one.
    """

    time_s: float
    values: Mapping[str, float]
    altitude_datum: str = "unknown"
    utc: datetime | None = None
    camera: CameraIntrinsics | None = None


@dataclass
class Reading:
    """What one source of telemetry gives.

    Attributes:
        source: the reader, as ``srt``.
        samples: of a clip, in the order of the file.
        stills: of images, by file name or path, see `tell`; those that tell nothing carry a
            reason's code.
        clock: ``video``: times count from the first frame; ``utc``: samples carry UTC, times count
            from the first of them.
        length_s: from the first frame to the end of the last sample, where the format says it.
        assumptions: what was assumed, a sentence each.
        lost: samples left out.
        position_step_m: positions are written in steps of this size.
        pictures: samples are of single pictures, in their order, not of a clip.
    """

    source: str
    samples: list[Sample] = field(default_factory=list)
    stills: dict[str, Sample | str] = field(default_factory=dict)
    clock: str = "video"
    length_s: float | None = None
    hold_s: float | None = None
    position_step_m: float = 0.0
    assumptions: list[str] = field(default_factory=list)
    lost: list[LostSample] = field(default_factory=list)
    pictures: list[Sample] = field(default_factory=list)

    def tell(self, image: str, still: Sample | str) -> None:
        """Keep what is told of an image; of one that two things are told of, nothing is known."""
        image = image.replace("\\", "/")
        self.stills[image] = still if self.stills.get(image, still) == still else "unknown_image"


def number(text: str) -> float | None:
    """Return the first number in a text, such as ``+92.4``, ``48.70m``, ``60,1`` or ``110.1°``;
    None where there is none or it is not finite.
    """
    match = _NUMBER.search(text)
    value = float(match[0].replace(",", ".")) if match else math.nan
    return value if math.isfinite(value) else None


def degrees(text: str) -> float | None:
    """Return the latitude or longitude that a text states as a whole, such as ``47.1234``,
    ``-8,7654``, ``47.12 N``, ``47 deg 7' 24.44" S`` or ``[47, 7, 24.44]``; None for any other.
    """
    text = text.strip().strip("[]()' ")
    if len(text) > _LONGEST_PLACE:  # a text made to take long to search is not searched
        return None
    side = _SIDE.search(text)
    if side is not None:
        text = (text[: side.start()] + text[side.end() :]).strip()
    text = text.removesuffix("deg").removesuffix("°").strip()
    parts = _SEXAGESIMAL.fullmatch(text)
    if _PLAIN.fullmatch(text):
        value = float(text.replace(",", "."))
    elif parts is not None:
        minutes, seconds = float(parts[2]), float(parts[3] or 0)
        if max(minutes, seconds) > 60:
            return None
        value = abs(int(parts[1])) + minutes / 60 + seconds / 3600
        value = -value if parts[1].startswith("-") else value
    else:
        return None
    negative = side is not None and (side[1] or side[2]).upper() in {"S", "W"}
    return -abs(value) if negative else value


def values_of(fields: Iterable[Field], record: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the quantities of a record, keys in lower case; of rows for one quantity the first
    that the record has wins.
    """
    values: dict[str, float] = {}
    for quantity in fields:
        if quantity.to not in values and quantity.key in record:
            value = quantity.value(record[quantity.key])
            if value is not None:
                values[quantity.to] = value
    return values


def utc_moment(text: str) -> datetime | None:
    """Return the moment that a text such as ``2026-05-17T08:28:30.25Z`` names, UTC where it names
    no zone; None where it names none.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    whole, part, zone = match.groups()
    zone = "+00:00" if zone in {None, "Z"} else f"{zone[:3]}:{zone[-2:]}"
    try:
        moment = datetime.fromisoformat(f"{whole}.{(part or '').ljust(6, '0')[:6]}{zone}")
        return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
