"""Telemetry that real drones wrote, read where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.geodesic import geodesic_inverse
from yolo_ema.geo.pose import Pose, PoseTrack
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.geo.telemetry.st0601 import parse_packet
from yolo_ema.options.telemetry import TelemetryOptions

pytestmark = pytest.mark.realdata

SRT = {  # file: samples read, samples left out, what no pose has
    "air2s.srt": (17, 0, "yaw pitch"),
    "air3.SRT": (2, 0, "yaw pitch hfov"),
    "air3S.SRT": (5, 0, "yaw pitch"),
    "avata2.SRT": (2, 0, "yaw pitch hfov"),
    "broken_incomplete.SRT": (19, 1, "yaw pitch hfov"),
    "broken_incomplete2.SRT": (4, 2, "yaw pitch"),
    "m2zoom.SRT": (68, 0, "yaw pitch"),
    "mavic_2_style.SRT": (152, 1, "height yaw pitch hfov"),
    "mavic_2pro_new.SRT": (73, 0, "height yaw pitch"),
    "mavic_air2.srt": (25, 0, "yaw pitch"),
    "mavic_mini.SRT": (117, 0, "yaw pitch hfov"),
    "mavic_pro.SRT": (132, 1, "yaw pitch hfov"),
    "mavic_pro_buggy.SRT": (120, 16, "yaw pitch hfov"),
    "mini4pro.SRT": (2, 0, "yaw pitch hfov"),
    "neo2.SRT": (5, 0, "yaw pitch hfov"),
    "old_format.SRT": (137, 0, "yaw pitch hfov"),
    "p4p_sample.SRT": (5, 0, "yaw pitch hfov"),
}
WITHOUT = {"broken_empty.SRT": "not_found", "mavic_air.SRT": "no_position"}


@pytest.fixture
def geo(shared: Path) -> Path:
    if not (shared / "geo").is_dir():
        pytest.skip(f"real telemetry is not here: {shared}/geo is missing")
    return shared / "geo"


def opened(path: Path, **options) -> PoseTrack | tuple:
    return open_telemetry("clip.mp4", TelemetryOptions(telemetry=(str(path),), **options))


def test_every_real_subtitle_file_is_in_this_table(geo):
    assert {path.name for path in (geo / "srt").iterdir()} == {*SRT, *WITHOUT}


@pytest.mark.parametrize("name", SRT)
def test_real_subtitles(name, geo):
    samples, lost, missing = SRT[name]
    track = opened(geo / "srt" / name)
    assert (len(track.poses), len(track.lost)) == (samples, lost)
    assert " ".join(track.missing) == missing
    text = (geo / "srt" / name).read_text(encoding="utf-8-sig")
    for pose in track.poses:
        assert pose.roll_deg == 0
        for value in (pose.latitude_deg, pose.longitude_deg):  # as it stands in the file
            assert any(f"{value:.{digits}f}" in text for digits in (4, 6))
    # No drone among them flew further than a kilometre.
    metres = geodesic_inverse(
        track.poses[0].latitude_deg,
        track.poses[0].longitude_deg,
        np.array([pose.latitude_deg for pose in track.poses]),
        np.array([pose.longitude_deg for pose in track.poses]),
    )[1]
    assert metres.max() < 1000


@pytest.mark.parametrize("name", WITHOUT)
def test_real_subtitles_without_positions_say_so(name, geo):
    (reason,) = opened(geo / "srt" / name)
    assert reason.reason == WITHOUT[name]


def test_heights_and_focal_lengths_of_real_subtitles(geo):
    def first(name: str) -> Pose:
        return opened(geo / "srt" / name).poses[0]

    assert first("mavic_mini.SRT").height_takeoff_m == 200.7
    assert first("old_format.SRT").height_takeoff_m == 1.9
    assert first("avata2.SRT").height_takeoff_m is None
    assert first("air2s.srt").height_takeoff_m is None
    assert (first("air2s.srt").altitude_m, first("air2s.srt").altitude_datum) == (117, "unknown")
    assert first("neo2.SRT").altitude_datum == "sea level"
    # Tenths of millimetres and plain ones, by the diagonal of a 4:3 sensor.
    for name, millimetres in (("air2s.srt", 24), ("air3S.SRT", 24), ("mavic_2pro_new.SRT", 28)):
        expected = CameraIntrinsics.from_35mm(4000, 3000, millimetres).hfov_deg
        assert first(name).hfov_deg == pytest.approx(expected)


def test_old_subtitles_write_positions_in_steps_of_eleven_metres(geo):
    for name, step_m in (("mavic_mini.SRT", 11.1), ("mavic_pro.SRT", 11.1), ("air2s.srt", 0)):
        track = opened(geo / "srt" / name)
        assert track.poses[0].position_step_m == pytest.approx(step_m, abs=0.1)
        assert any("in steps of 11 m" in one for one in track.assumptions) == (step_m > 0)


def test_no_pose_where_a_real_receiver_had_no_fix(geo):
    track = opened(geo / "srt" / "mavic_pro_buggy.SRT")
    assert track.at(22.5).reason == "no_fix"
    cut_off = opened(geo / "srt" / "broken_incomplete2.SRT")
    assert [one.reason for one in cut_off.lost] == ["no_position", "no_position"]
    assert isinstance(track.at(13.5), Pose)


def test_the_packet_of_st_0601(geo):
    expected = json.loads((geo / "klv" / "expected.json").read_text())["packet.bin"]
    packet = parse_packet((geo / "klv" / "packet.bin").read_bytes())
    assert packet.time_us == expected.pop("time_us")
    assert packet.values.keys() == expected.keys()
    for name, value in expected.items():
        assert packet.values[name] == pytest.approx(value, abs=0.16 if "altitude" in name else 3e-3)
    with pytest.raises(TelemetryError, match="checksum"):
        parse_packet((geo / "klv" / "packet-one-bit-flipped.bin").read_bytes())


def test_the_log_of_mavlink(geo):
    pytest.importorskip("pymavlink")
    track = opened(geo / "mavlink" / "flight.tlog", telemetry_offset=0.0)
    assert [pose.time_s for pose in track.poses] == pytest.approx([0, 0.2, 0.4], abs=1e-6)
    pose = track.poses[1]
    assert (pose.latitude_deg, pose.longitude_deg) == pytest.approx((47.1234567, 8.7654321))
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((99.5, -41, 0))
    assert (pose.height_takeoff_m, pose.altitude_m) == pytest.approx((103.4, 561.2))


def test_real_stills_by_xmp_and_by_reconstruction(geo):
    images = sorted((geo / "odm" / "images").glob("*.tif"))
    by_xmp = open_telemetry(images)
    by_odm = open_telemetry(images, TelemetryOptions(telemetry=("odm",)))
    given = open_telemetry(
        images, TelemetryOptions(telemetry=(str(geo / "odm" / "odm_lla_rpy.csv"),))
    )
    assert (by_xmp.source, by_odm.source, given.source) == ("xmp", "odm", "lla_rpy")
    for path in images:
        xmp, odm, lla = (track.still(path) for track in (by_xmp, by_odm, given))
        # What OpenDroneMap was given is what XMP says, once both are in the same angles.
        assert (lla.latitude_deg, lla.longitude_deg) == (xmp.latitude_deg, xmp.longitude_deg)
        assert lla.yaw_deg == pytest.approx(xmp.yaw_deg)
        assert lla.pitch_deg == pytest.approx(xmp.pitch_deg) == -60
        # The drone's receiver had corrections: the reconstruction, turned from the grid of its
        # UTM zone to true north, moved it by centimetres, and turned it by degrees.
        _, metres = geodesic_inverse(
            xmp.latitude_deg, xmp.longitude_deg, odm.latitude_deg, odm.longitude_deg
        )
        assert metres < 0.1
        assert odm.altitude_m == pytest.approx(xmp.altitude_m, abs=0.1)
        assert abs((odm.yaw_deg - xmp.yaw_deg + 180) % 360 - 180) < 3
        assert odm.pitch_deg == pytest.approx(-60, abs=2)
        assert xmp.height_takeoff_m == pytest.approx(100, abs=0.2)
    # The drone's calibration and the reconstruction's of the same camera, at their own sizes.
    drone, found = by_xmp.camera, by_odm.camera
    assert drone.focal_px / drone.width_px == pytest.approx(
        found.focal_px / found.width_px, rel=5e-3
    )
    assert drone.brown[0] == pytest.approx(found.brown[0], abs=5e-3)


def test_auair(geo):
    images = sorted((geo / "auair" / "images").glob("*.jpg"))
    track = open_telemetry(images, TelemetryOptions(telemetry=("auair",)))
    poses = [track.still(path) for path in images]
    assert len(poses) == 40
    assert all(isinstance(pose, Pose) and 4 < pose.height_takeoff_m < 31 for pose in poses)
    assert track.missing == ("pitch", "hfov")
