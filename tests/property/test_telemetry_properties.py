"""Readers of telemetry meet anything: they give poses or say why not, never poses of nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telemetry_files import SRT_WRITERS, Flown, klv_packet, srt, tlog, xmp

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.geodesic import geodesic_inverse
from yolo_ema.geo.pose import REASONS, Pose, PoseTrack
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.geo.telemetry.st0601 import packets_in
from yolo_ema.geo.telemetry.xmp import xmp_values
from yolo_ema.options.telemetry import TelemetryOptions

BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = (
    "[latitude: 47.1] [longitude: 8.7] [rel_alt: 1.0 abs_alt: 2.0]",
    "GPS(8.7,47.1,18) BAROMETER:12.3M HOME(8.7,47.1)",
    "1\n00:00:01,000 --> 00:00:02,000\n",
    "time_s,latitude_deg,longitude_deg,yaw_deg\n0,47,8,1\n",
    "utc,latitude_deg,longitude_deg\n2026-05-17T08:28:30Z,47,8\n",
    '[{"SourceFile": "a.mp4", "Doc1:SampleTime": 0, "Doc1:GPSLatitude": 47}]',
    '[{"cameras": {"a": {}}, "shots": {"b": {"camera": "a"}}, "reference_lla": {}}]',
    '{"annotations": [{"image_name": "a.jpg", "angle_psi": 1, "latitude": 1e999}]}',
    "filename latitude longitude altitude roll pitch yaw\na.jpg 1 2 3 4 5 6\n",
    '"', "é", "[", "(", ",", "\n\n", "-->", "N/A", "nan", "1e400", "\0",
)  # fmt: skip
anything = st.one_of(
    st.binary(max_size=600),
    st.text(max_size=300).map(str.encode),
    st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=5)), max_size=12)
    .map("".join)
    .map(lambda text: text.encode("utf-8", errors="replace")),
)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".srt", ".csv", ".json", ".tlog", ".klv", ".txt", ".bin"])
@BOUNDED
@given(content=anything)
def test_any_content_gives_sound_poses_or_a_reason(suffix, content, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    for source, offset in (("clip.mp4", 0.0), ([Path("a.jpg")], None)):
        options = TelemetryOptions(telemetry=(str(path),), telemetry_offset=offset)
        found = open_telemetry(source, options)
        if isinstance(found, PoseTrack):
            poses = [*found.poses, *(one for one in found.stills.values() if isinstance(one, Pose))]
            for pose in poses:
                assert abs(pose.latitude_deg) <= 90
                assert -180 <= pose.longitude_deg < 180
                assert math.isfinite(pose.time_s)
        else:
            assert all(one.reason in REASONS and one.words for one in found)


@BOUNDED
@given(content=st.binary(max_size=300), cut=st.integers(0, 400), flip=st.integers(0, 5000))
def test_damaged_packets_are_never_accepted(content, cut, flip):
    packet = bytearray(klv_packet({"latitude": 47.0, "longitude": 8.0, "altitude": 500.0}))
    packet[flip // 8 % len(packet)] ^= 1 << flip % 8
    for damaged in (bytes(packet), bytes(packet[:cut]), content + bytes(packet) + content):
        assert all(isinstance(one, TelemetryError) for one in packets_in(damaged))


@BOUNDED
@given(content=st.binary(max_size=200), at=st.integers(0, 500))
def test_any_xmp_is_values_or_an_error(content, at):
    whole = xmp('drone-dji:GimbalYawDegree="+92.4"')
    for packet in (content, whole[:at] + content + whole[at:]):
        try:
            assert all(isinstance(value[0], str) for value in xmp_values(packet).values())
        except TelemetryError:
            continue


@BOUNDED
@given(content=st.binary(max_size=200), at=st.integers(0, 100))
def test_logs_with_noise_in_them(content, at, tmp_path):
    ardupilotmega = pytest.importorskip("pymavlink.dialects.v20.ardupilotmega")
    place = ardupilotmega.MAVLink_global_position_int_message(
        0, 471_000_000, 80_000_000, 5, 5, 0, 0, 0, 0
    )
    log = tlog([(0.0, place), (0.5, place), (1.0, place)])
    path = tmp_path / "x.tlog"
    path.write_bytes(log[:at] + content + log[at:])
    options = TelemetryOptions(telemetry=(str(path),), telemetry_offset=0.0)
    found = open_telemetry("clip.mp4", options)
    for pose in found.poses if isinstance(found, PoseTrack) else ():
        assert pose.latitude_deg == pytest.approx(47.1)


@pytest.mark.parametrize("dialect", SRT_WRITERS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    latitude=st.floats(-89, 89),
    longitude=st.floats(91, 179),
    height=st.floats(0, 500),
    yaw=st.floats(-180, 179),
    pitch=st.floats(-90, 30),
)
def test_every_dialect_is_read_as_it_was_written(
    dialect, latitude, longitude, height, yaw, pitch, tmp_path
):
    write, told = SRT_WRITERS[dialect]
    flown = Flown(latitude, longitude, height, height + 100, yaw, pitch)
    path = tmp_path / "x.srt"
    path.write_text(srt([write(flown)] * 2), encoding="utf-8")
    pose = open_telemetry("clip.mp4", TelemetryOptions(telemetry=(str(path),))).poses[0]
    assert pose.latitude_deg == pytest.approx(latitude, abs=6e-7)
    assert pose.longitude_deg == pytest.approx(longitude, abs=6e-7)
    if "height" in told:
        assert pose.height_takeoff_m == pytest.approx(height, abs=6e-4)
    if "yaw" in told:
        assert pose.yaw_deg == pytest.approx(yaw, abs=0.051)
        assert pose.pitch_deg == pytest.approx(pitch, abs=0.051)


@BOUNDED
@given(
    latitudes=st.lists(st.floats(-1e-3, 1e-3), min_size=2, max_size=6),
    yaws=st.lists(st.floats(-60, 60), min_size=6, max_size=6),
    share=st.floats(0, 1),
    turn=st.floats(-180, 180),
)
def test_a_pose_between_two_lies_between_them(latitudes, yaws, share, turn):
    poses = tuple(
        Pose(float(place), 47 + latitude, 8.0, yaw_deg=(yaws[place] + turn + 180) % 360 - 180)
        for place, latitude in enumerate(latitudes)
    )
    first, second = poses[:2]
    found = PoseTrack(poses, "test").at(share)
    _, whole = geodesic_inverse(first.latitude_deg, 8.0, second.latitude_deg, 8.0)
    _, part = geodesic_inverse(first.latitude_deg, 8.0, found.latitude_deg, found.longitude_deg)
    assert float(part) == pytest.approx(float(whole) * found.time_s, abs=1e-5)
    if isinstance(found, Pose):
        arc = (found.yaw_deg - first.yaw_deg + 180) % 360 - 180
        way = (second.yaw_deg - first.yaw_deg + 180) % 360 - 180
        assert arc == pytest.approx(way * found.time_s, abs=1e-6)
