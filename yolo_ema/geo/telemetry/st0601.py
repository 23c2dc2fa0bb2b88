"""Packets of MISB ST 0601 (KLV), as military and survey video carries them: the tags that place a
camera, after the checksum has been held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.rotations import rotation_of, yaw_pitch_roll_of
from yolo_ema.geo.telemetry.reading import Sample

UNIVERSAL_LABEL = bytes.fromhex("060e2b34020b01010e01030101000000")
_LONGEST = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CHECKSUM_TAG, _TIME_TAG = 1, 2


class _Tag(NamedTuple):
    """A quantity in an integer of ``length`` bytes that spans ``low`` to ``high``; signed ones keep
    their lowest value for "out of range".
    """

    name: str
    length: int
    low: float
    high: float
    signed: bool = False

    def value(self, content: bytes) -> float | None:
        if len(content) != self.length:
            return None
        raw = int.from_bytes(content, "big", signed=self.signed)
        if not self.signed:
            return self.low + raw * (self.high - self.low) / (256**self.length - 1)
        half = 256**self.length // 2
        return None if raw == -half else raw * self.high / (half - 1)


_TAGS = {
    5: _Tag("platform_heading_deg", 2, 0, 360),
    6: _Tag("platform_pitch_deg", 2, -20, 20, signed=True),
    7: _Tag("platform_roll_deg", 2, -50, 50, signed=True),
    13: _Tag("sensor_latitude", 4, -90, 90, signed=True),
    14: _Tag("sensor_longitude", 4, -180, 180, signed=True),
    15: _Tag("sensor_altitude_m", 2, -900, 19_000),
    16: _Tag("hfov_deg", 2, 0, 180),
    17: _Tag("vfov_deg", 2, 0, 180),
    18: _Tag("sensor_relative_azimuth_deg", 4, 0, 360),
    19: _Tag("sensor_relative_elevation_deg", 4, -180, 180, signed=True),
    20: _Tag("sensor_relative_roll_deg", 4, 0, 360),
    23: _Tag("frame_centre_latitude", 4, -90, 90, signed=True),
    24: _Tag("frame_centre_longitude", 4, -180, 180, signed=True),
    25: _Tag("frame_centre_elevation_m", 2, -900, 19_000),
}
_TURNS = ("platform_heading_deg", "platform_pitch_deg", "platform_roll_deg")
_SENSOR_TURNS = (
    "sensor_relative_azimuth_deg",
    "sensor_relative_elevation_deg",
    "sensor_relative_roll_deg",
)


@dataclass(frozen=True)
class Packet:
    """The tags of a packet whose checksum holds.

    Attributes:
        time_us: microseconds since 1970 in UTC (tag 2), where the packet has it.
        values: quantities by name.
    """

    time_us: int | None
    values: dict[str, float]

    @property
    def utc(self) -> datetime | None:
        """The moment, or None where the packet has none, or one that is not a date."""
        try:
            return None if self.time_us is None else _EPOCH + timedelta(microseconds=self.time_us)
        except OverflowError:
            return None

    def sample(self, time_s: float) -> Sample | None:
        """Return what the packet tells of the camera; None without a position."""
        if "sensor_latitude" not in self.values or "sensor_longitude" not in self.values:
            return None
        names = {
            "latitude_deg": "sensor_latitude",
            "longitude_deg": "sensor_longitude",
            "altitude_m": "sensor_altitude_m",
            "ground_altitude_m": "frame_centre_elevation_m",
            "hfov_deg": "hfov_deg",
        }
        values = {to: self.values[key] for to, key in names.items() if key in self.values}
        if not values.get("hfov_deg", 1):
            del values["hfov_deg"]
        values |= self._view()
        return Sample(time_s, values, "sea level", self.utc)

    def _view(self) -> dict[str, float]:
        """Return the camera's angles: its own turn within the aircraft's."""
        turns = [self.values.get(name) for name in (*_TURNS, *_SENSOR_TURNS)]
        if turns[5] is None:
            turns[5] = 0.0
        known = [turn for turn in turns if turn is not None]
        if len(known) < len(turns):
            return {}
        heading, pitch, roll, azimuth, elevation, sensor_roll = known
        aircraft = rotation_of(heading, pitch, roll)
        sensor = rotation_of(azimuth, elevation, sensor_roll)
        angles = yaw_pitch_roll_of(aircraft @ sensor)
        return dict(zip(("yaw_deg", "pitch_deg", "roll_deg"), angles, strict=True))


def packets_in(content: bytes) -> Iterator[Packet | TelemetryError]:
    """Yield the packets in bytes that may hold several, and an error for each that is refused."""
    offset = content.find(UNIVERSAL_LABEL)
    while offset >= 0:
        following = content.find(UNIVERSAL_LABEL, offset + 1)
        try:
            length, start = _ber_length(content, offset + len(UNIVERSAL_LABEL))
            yield parse_packet(content[offset : start + length])
        except TelemetryError as error:
            yield error
        offset = following


def parse_packet(content: bytes) -> Packet:
    """Return the tags of one packet, from its universal label to its checksum.

    Raises:
        TelemetryError: it has no such label, is cut off, or its checksum does not hold.
    """
    if not content.startswith(UNIVERSAL_LABEL):
        raise TelemetryError("the packet does not begin with the universal label of ST 0601")
    length, offset = _ber_length(content, len(UNIVERSAL_LABEL))
    end = offset + length
    if end > len(content):
        raise TelemetryError(f"the packet is cut off: {len(content)} of {end} bytes")
    if length < 4 or content[end - 4 : end - 2] != bytes([_CHECKSUM_TAG, 2]):
        raise TelemetryError("the packet does not end with a checksum (tag 1)")
    stated = int.from_bytes(content[end - 2 : end], "big")
    if _sum16(content[: end - 2]) != stated:
        raise TelemetryError("the packet's checksum does not hold: some of its bits changed")
    time_us, values = None, {}
    while offset < end - 4:
        tag, offset = _ber_oid(content, offset)
        size, offset = _ber_length(content, offset)
        item, offset = content[offset : offset + size], offset + size
        if offset > end:
            raise TelemetryError(f"tag {tag} of the packet is longer than the packet")
        if tag == _TIME_TAG and size == 8:
            time_us = int.from_bytes(item, "big")
        elif tag in _TAGS and (value := _TAGS[tag].value(item)) is not None:
            values[_TAGS[tag].name] = value
    return Packet(time_us, values)


def _sum16(content: bytes) -> int:
    """Return the sum of all 16-bit words, the last of which may be half."""
    return (sum(content[0::2]) * 256 + sum(content[1::2])) & 0xFFFF


def _ber_length(content: bytes, offset: int) -> tuple[int, int]:
    """Return a length and where what it is of begins."""
    if offset >= len(content):
        raise TelemetryError("the packet is cut off where a length should stand")
    first, offset = content[offset], offset + 1
    if first < 0x80:
        return first, offset
    end = offset + (first & 0x7F)
    length = int.from_bytes(content[offset:end], "big")
    if end > len(content) or length > _LONGEST:
        raise TelemetryError("a length in the packet is cut off or exceeds a million bytes")
    return length, end


def _ber_oid(content: bytes, offset: int) -> tuple[int, int]:
    """Return a tag's number, seven bits a byte, and where what follows it begins."""
    tag = 0
    for index in range(offset, min(offset + 4, len(content))):
        tag = tag << 7 | content[index] & 0x7F
        if content[index] < 0x80:
            return tag, index + 1
    raise TelemetryError("a tag in the packet is cut off")
