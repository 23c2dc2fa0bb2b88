from __future__ import annotations

import math
from datetime import datetime, timezone
from fractions import Fraction

import numpy as np
import pytest
from telemetry_files import US_2026, klv_packet, write_video

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.pose import PoseTrack
from yolo_ema.geo.rotations import rotation_of, rotation_of_quaternion, yaw_pitch_roll_of
from yolo_ema.geo.telemetry.containers import _packets
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.geo.telemetry.st0601 import packets_in, parse_packet
from yolo_ema.options.telemetry import TelemetryOptions

LEVEL = {
    "heading": 87.5,
    "platform_pitch": 0.0,
    "platform_roll": 0.0,
    "latitude": -47.1234567,
    "longitude": 178.7654321,
    "altitude": 561.2,
    "hfov": 62.0,
    "azimuth": 12.0,
    "elevation": -41.0,
    "sensor_roll": 0.0,
    "ground": 461.0,
}


def test_a_packet_gives_back_what_was_written():
    sample = parse_packet(klv_packet(LEVEL)).sample(0)
    values = sample.values
    assert sample.utc == datetime.fromtimestamp(US_2026 / 1e6, timezone.utc)
    assert values["latitude_deg"] == pytest.approx(-47.1234567, abs=1e-7)
    assert values["longitude_deg"] == pytest.approx(178.7654321, abs=1e-7)
    assert values["altitude_m"] == pytest.approx(561.2, abs=0.16)  # 16 bits for 19,900 m
    assert values["ground_altitude_m"] == pytest.approx(461, abs=0.16)
    assert values["hfov_deg"] == pytest.approx(62, abs=0.002)
    # In level flight the sensor's azimuth and elevation add to the heading.
    angles = [values[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")]
    assert angles == pytest.approx([99.5, -41.0, 0.0], abs=0.01)


def test_the_sensor_turns_within_a_banked_aircraft():
    """Flying north, rolled right by 30 degrees, looking right: 30 degrees down, not level."""
    banked = LEVEL | {
        "heading": 0,
        "platform_roll": 30.0,
        "azimuth": 90.0,
        "elevation": 0.0,
    }
    values = parse_packet(klv_packet(banked)).sample(0).values
    assert values["yaw_deg"] == pytest.approx(90, abs=0.01)
    assert values["pitch_deg"] == pytest.approx(-30, abs=0.01)
    assert values["roll_deg"] == pytest.approx(0, abs=0.01)


def test_without_the_sensors_angles_the_aircrafts_are_not_taken():
    values = parse_packet(
        klv_packet({key: LEVEL[key] for key in ("latitude", "longitude", "heading")})
    ).sample(0)
    assert "yaw_deg" not in values.values


def test_any_changed_bit_is_refused():
    packet = klv_packet(LEVEL)
    for place in range(len(packet) * 8):
        damaged = bytearray(packet)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(TelemetryError):
            parse_packet(bytes(damaged))


def test_out_of_range_and_overlong_values_are_none():
    packet = bytearray(klv_packet({"platform_pitch": 1.0, "latitude": 1.0, "longitude": 1.0}))
    at = packet.index(bytes([6, 2])) + 2
    packet[at : at + 2] = b"\x80\x00"
    total = sum(byte << (8 * ((place + 1) % 2)) for place, byte in enumerate(packet[:-2]))
    packet[-2:] = (total % 65_536).to_bytes(2, "big")
    assert set(parse_packet(bytes(packet)).values) == {"sensor_latitude", "sensor_longitude"}


def test_a_stream_of_packets_with_a_damaged_one():
    good, damaged = klv_packet(LEVEL), bytearray(klv_packet(LEVEL))
    damaged[40] ^= 4
    found = list(packets_in(b"noise" + good + bytes(damaged) + good[:50] + good))
    assert [isinstance(one, TelemetryError) for one in found] == [False, True, True, False]


def test_the_data_track_of_a_transport_stream(tmp_path):
    packets = [
        (place * 0.2, 0.2, klv_packet(LEVEL | {"altitude": 500 + 10 * place}, US_2026 + place))
        for place in range(10)
    ]
    broken = bytearray(packets[3][2])
    broken[45] ^= 1
    packets[3] = (0.6, 0.2, bytes(broken))
    try:
        video = write_video(tmp_path / "uav.ts", data="klv", packets=packets, container="mpegts")
    except ValueError as error:
        pytest.skip(f"this PyAV cannot write such tracks: {error}")
    track = open_telemetry(video, duration_s=2.0)
    assert isinstance(track, PoseTrack), track
    assert (track.source, len(track.poses)) == ("klv", 9)
    assert track.at(1.5).altitude_m == pytest.approx(575, abs=1)
    assert any("1 of 10 packets" in one and "checksum" in one for one in track.assumptions)
    assert track.poses[0].altitude_datum == "sea level"


def test_packets_in_a_file_count_by_their_utc(tmp_path):
    path = tmp_path / "uav.klv"
    path.write_bytes(
        klv_packet(LEVEL, US_2026) + klv_packet(LEVEL | {"heading": 90}, US_2026 + 1_500_000)
    )
    options = TelemetryOptions(telemetry=(str(path),))
    (reason,) = open_telemetry("clip.mp4", options)
    assert reason.reason == "no_common_clock"
    begin = datetime.fromtimestamp(US_2026 / 1e6 - 10, timezone.utc)
    track = open_telemetry("clip.mp4", options, start_utc=begin, duration_s=60)
    assert [pose.time_s for pose in track.poses] == pytest.approx([10, 11.5])


def test_turns_agree_with_their_quaternion():
    rotation = rotation_of(100, -40, 10)
    half = [math.radians(angle) / 2 for angle in (100, -40, 10)]
    (cy, cp, cr), (sy, sp, sr) = map(math.cos, half), map(math.sin, half)
    wxyz = (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )
    assert np.allclose(rotation, rotation_of_quaternion(wxyz))
    assert yaw_pitch_roll_of(rotation) == pytest.approx((100, -40, 10))
    assert np.isnan(rotation_of_quaternion((0, 0, 0, 0))).all()
    assert yaw_pitch_roll_of(rotation_of(70, -90, 0)) == pytest.approx((70, -90, 0))


class _Fake:
    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)


def test_packets_without_a_time_stamp_are_of_the_newest_frame():
    """No muxer of PyAV writes such packets; recorders of radio links do."""
    video = _Fake(start_time=9000, time_base=Fraction(1, 90_000))
    data = _Fake()
    base = Fraction(1, 90_000)

    def packet(stream, pts, content=b"v"):
        bytes_of = memoryview(content)
        fake = _Fake(stream=stream, pts=pts, size=len(content), time_base=base, duration=0)
        fake.__class__ = type("Packet", (_Fake,), {"__bytes__": lambda _self: bytes(bytes_of)})
        return fake

    sent = [packet(data, None, b"a"), packet(video, 9000), packet(video, 54_000)]
    sent += [packet(video, 18_000), packet(data, None, b"b"), packet(data, 99_000, b"c")]
    container = _Fake(streams=_Fake(video=[video]), demux=lambda _tracks: iter(sent))
    found = [(one.content, one.time_s, one.timed) for one in _packets(container, data)]
    assert found == [(b"a", 0.0, False), (b"b", 0.5, False), (b"c", 1.0, True)]
