"""What MAVLink's messages say of the camera, and logs of them (tlog)."""

from __future__ import annotations

import bisect
import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from yolo_ema.errors import MissingPackageError, TelemetryError
from yolo_ema.geo.rotations import rotation_of_quaternion, yaw_pitch_roll_of
from yolo_ema.geo.telemetry.reading import QUANTITIES, Reading, Sample

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MARKS = {0xFE: 8, 0xFD: 12}  # magic byte: bytes of a packet besides its payload
_MARK_1 = 0xFE  # of MAVLink 1
_SIGNATURE_BYTES = 13
_LONGEST_START = 1 << 16  # no log has so many bytes before its first packet
_EARLIEST_S, _LATEST_S = 631_152_000, 4_102_444_800  # 1990, 2100
_APART_S = 1.0
_UNKNOWN_HEADING = 65_535
_YAW_LOCK, _YAW_IN_VEHICLE, _YAW_IN_EARTH = 16, 32, 64
_ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")
_FEEDBACK = (
    "CAMERA_FEEDBACK's angles are taken for the camera's, as MAVLink defines them; some autopilots "
    "write the aircraft's there: give --pitch and --yaw then"
)
_NO_CAMERA = (
    "the log has no message about the camera's direction; that of the aircraft (ATTITUDE) is not "
    "taken for it"
)

Stream = list[tuple[float, dict[str, float]]]

MESSAGES = {
    "GLOBAL_POSITION_INT": "_global_position_int",
    "ATTITUDE": "_attitude",
    "GIMBAL_DEVICE_ATTITUDE_STATUS": "_gimbal_status",
    "MOUNT_ORIENTATION": "_mount_orientation",
    "CAMERA_FEEDBACK": "_camera_feedback",
    "CAMERA_FOV_STATUS": "_camera_fov_status",
}
"""Messages that are read, and the method that reads them."""


@contextlib.contextmanager
def pymavlink_needed() -> Iterator[None]:
    """Raise `MissingPackageError` where the block imports pymavlink and it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "MAVLink needs pymavlink, which is not installed here; install it with: pip install "
            '"yolo-ema[mavlink]"'
        ) from error


@dataclass
class MavlinkStreams:
    """Messages of one vehicle, by what they tell, each with its time in seconds."""

    positions: Stream = field(default_factory=list)
    headings: Stream = field(default_factory=list)
    gimbal: Stream = field(default_factory=list)
    mount: Stream = field(default_factory=list)
    pictures: Stream = field(default_factory=list)
    views: Stream = field(default_factory=list)
    system: int | None = None
    others: set[int] = field(default_factory=set)

    def take(self, message: Any, time_s: float) -> None:
        """Keep what a message tells."""
        read = MESSAGES.get(message.get_type())
        if read is None:
            return
        system = message.get_srcSystem()
        if self.system is None:
            self.system = system
        if system != self.system:
            self.others.add(system)
            return
        getattr(self, read)(message, time_s)

    def copy(self) -> MavlinkStreams:
        """Return streams of the same messages, to which nothing is added."""
        return replace(
            self,
            positions=list(self.positions),
            headings=list(self.headings),
            gimbal=list(self.gimbal),
            mount=list(self.mount),
            pictures=list(self.pictures),
            views=list(self.views),
            others=set(self.others),
        )

    def forget(self, before_s: float) -> None:
        """Drop what is older, but for the newest field of view."""
        for stream in (self.positions, self.headings, self.gimbal, self.mount, self.pictures):
            del stream[: bisect.bisect_left(stream, before_s, key=_time)]
        del self.views[:-1]

    def _global_position_int(self, message: Any, time_s: float) -> None:
        values = {
            "latitude_deg": message.lat / 1e7,
            "longitude_deg": message.lon / 1e7,
            "altitude_m": message.alt / 1e3,
            "height_takeoff_m": message.relative_alt / 1e3,
        }
        self.positions.append((time_s, _possible(values)))
        if message.hdg != _UNKNOWN_HEADING:
            self.headings.append((time_s, {"yaw_deg": message.hdg / 100, "exact": 0.0}))

    def _attitude(self, message: Any, time_s: float) -> None:
        if math.isfinite(message.yaw):
            self.headings.append((time_s, {"yaw_deg": math.degrees(message.yaw), "exact": 1.0}))

    def _gimbal_status(self, message: Any, time_s: float) -> None:
        angles = yaw_pitch_roll_of(rotation_of_quaternion(message.q))
        flags = message.flags
        in_earth = bool(flags & _YAW_IN_EARTH) or (
            not flags & _YAW_IN_VEHICLE and bool(flags & _YAW_LOCK)
        )
        if all(map(math.isfinite, angles)):
            attitude = dict(zip(_ANGLES, angles, strict=True))
            self.gimbal.append((time_s, attitude | {"relative": float(not in_earth)}))

    def _mount_orientation(self, message: Any, time_s: float) -> None:
        absolute = getattr(message, "yaw_absolute", 0.0)  # 0 also where the sender is older
        attitude = {
            "yaw_deg": absolute or message.yaw,
            "pitch_deg": message.pitch,
            "roll_deg": message.roll,
        }
        if all(map(math.isfinite, attitude.values())):
            self.mount.append((time_s, attitude | {"relative": float(not absolute)}))

    def _camera_feedback(self, message: Any, time_s: float) -> None:
        values = {
            "latitude_deg": message.lat / 1e7,
            "longitude_deg": message.lng / 1e7,
            "altitude_m": message.alt_msl,
            "height_takeoff_m": message.alt_rel,
            "yaw_deg": message.yaw,
            "pitch_deg": message.pitch,
            "roll_deg": message.roll,
        }
        self.pictures.append((time_s, _possible(values)))

    def _camera_fov_status(self, message: Any, time_s: float) -> None:
        values = _possible({"hfov_deg": message.hfov})
        if values:
            self.views.append((time_s, values))

    def orientation(self) -> tuple[Stream, str]:
        """Return the angles of the camera from the best messages there are, and their name."""
        for stream, name in (
            (self.gimbal, "GIMBAL_DEVICE_ATTITUDE_STATUS"),
            (self.mount, "MOUNT_ORIENTATION"),
            (self.pictures, "CAMERA_FEEDBACK"),
        ):
            if stream:
                return stream, name
        return [], ""


def read_tlog(path: Path) -> Reading:
    """Read a log of MAVLink: before each packet its time, microseconds since 1970 in eight bytes.

    Raises:
        TelemetryError: it has no packets, or none with a position.
        MissingPackageError: pymavlink is not installed.
    """
    streams, damaged = MavlinkStreams(), 0
    for message, time_s in _messages(path.read_bytes()):
        if message is None:
            damaged += 1
        else:
            streams.take(message, time_s)
    reading = samples_of(streams)
    if damaged:
        reading.assumptions.append(f"{damaged} damaged packets of the log were left out")
    return reading


def samples_of(streams: MavlinkStreams) -> Reading:
    """Return the camera's samples of a log, in seconds since the first position."""
    positions = streams.positions or streams.pictures
    if not positions:
        raise TelemetryError(
            "it has no packets of GLOBAL_POSITION_INT or CAMERA_FEEDBACK", "no_position"
        )
    reading = Reading("mavlink", clock="utc")
    orientation, name = streams.orientation()
    reading.assumptions.append(f"the camera's direction is that of {name}" if name else _NO_CAMERA)
    if name == "CAMERA_FEEDBACK":
        reading.assumptions.append(_FEEDBACK)
    if streams.others:
        reading.assumptions.append(
            f"the log is of several vehicles: {streams.system} is taken, "
            f"{', '.join(map(str, sorted(streams.others)))} left out"
        )
    for stream in (streams.headings, streams.views, orientation):
        stream.sort(key=_time)
    orientation = _absolute(orientation, streams.headings)
    first_s = positions[0][0]
    for time_s, values in positions:
        angles = _at(orientation, _ANGLES, time_s)
        view = _at(streams.views, ("hfov_deg",), time_s, apart_s=math.inf)
        reading.samples.append(_sample(time_s, first_s, {**angles, **view, **values}))
    reading.pictures = [_sample(time_s, first_s, values) for time_s, values in streams.pictures]
    return reading


def _sample(time_s: float, first_s: float, values: dict[str, float]) -> Sample:
    utc = _EPOCH + timedelta(seconds=time_s)
    return Sample(time_s - first_s, values, "sea level", utc)


def _absolute(stream: Stream, headings: Stream) -> Stream:
    """Return angles whose yaw is from north: where it is from the aircraft's nose, the aircraft's
    heading is added, and without one it is left out.
    """
    exact = [entry for entry in headings if entry[1]["exact"]] or headings
    turned: Stream = []
    for time_s, values in stream:
        attitude = {key: value for key, value in values.items() if key in _ANGLES}
        if values.get("relative"):
            heading = _at(exact, ("yaw_deg",), time_s)
            if heading:
                attitude["yaw_deg"] += heading["yaw_deg"]
            else:
                del attitude["yaw_deg"]
        turned.append((time_s, attitude))
    return turned


def _at(
    stream: Stream, names: Sequence[str], time_s: float, *, apart_s: float = _APART_S
) -> dict[str, float]:
    """Return quantities at a moment: between two messages at most so far apart the angle on the
    shortest arc, else that of the nearest one within that time, else nothing.
    """
    after = bisect.bisect_left(stream, time_s, key=_time)
    around = [stream[index] for index in (after - 1, after) if 0 <= index < len(stream)]
    near = [entry for entry in around if abs(entry[0] - time_s) <= apart_s]
    result: dict[str, float] = {}
    for name in names:
        known = [(when, values[name]) for when, values in near if name in values]
        if len(known) == 2 and known[1][0] > known[0][0]:
            share = (time_s - known[0][0]) / (known[1][0] - known[0][0])
            turn = (known[1][1] - known[0][1] + 180) % 360 - 180
            result[name] = known[0][1] + share * turn
        elif known:
            result[name] = min(known, key=lambda entry: abs(entry[0] - time_s))[1]
    return result


def _time(entry: tuple[float, dict[str, float]]) -> float:
    return entry[0]


def _possible(values: dict[str, float]) -> dict[str, float]:
    """Return the values that can be such quantities."""
    return {
        name: float(value)
        for name, value in values.items()
        if QUANTITIES[name][0] <= value <= QUANTITIES[name][1]
    }


def _messages(content: bytes) -> Iterator[tuple[Any, float]]:
    """Yield the messages that matter, with their times in seconds; None for damaged packets."""
    with pymavlink_needed():
        from pymavlink.dialects.v20 import ardupilotmega as dialect
    link = dialect.MAVLink(None)
    numbers = {number for number, kind in dialect.mavlink_map.items() if kind.msgname in MESSAGES}
    offset = _next_packet(content, 0, most=_LONGEST_START)
    while offset >= 0:
        time_s, begin = _stamp_s(content, offset), offset + 8
        end, number = _end_and_number(content, begin)
        if end > len(content):
            yield None, time_s
            return
        offset = end
        if number in numbers:
            try:
                yield link.decode(bytearray(content[begin:end])), time_s
            except Exception:  # pymavlink raises its own error and others on damaged packets
                yield None, time_s
                offset = begin
        offset = _next_packet(content, offset)


def _next_packet(content: bytes, offset: int, most: int | None = None) -> int:
    """Return where the next plausible time with a packet behind it begins, or -1."""
    last = len(content) - 16 if most is None else min(len(content) - 16, offset + most)
    for start in range(offset, last):
        if content[start + 8] in _MARKS and _EARLIEST_S < _stamp_s(content, start) < _LATEST_S:
            return start
    return -1


def _stamp_s(content: bytes, offset: int) -> float:
    return int.from_bytes(content[offset : offset + 8], "big") / 1e6


def _end_and_number(content: bytes, begin: int) -> tuple[int, int]:
    """Return where a packet ends, and the number of its message."""
    mark, length = content[begin], content[begin + 1]
    end = begin + length + _MARKS[mark]
    if mark == _MARK_1:
        return end, content[begin + 5]
    signed = content[begin + 2] & 1
    return end + signed * _SIGNATURE_BYTES, int.from_bytes(
        content[begin + 7 : begin + 10], "little"
    )
