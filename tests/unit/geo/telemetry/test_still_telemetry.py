from __future__ import annotations

import math
import time

import pytest
from telemetry_files import DJI, write_still, xmp

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.camera_heights import FlightGround
from yolo_ema.geo.ground import LevelGround
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.geo.sightings import FrameBoxes, view_of
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.geo.telemetry.xmp import xmp_values
from yolo_ema.options.telemetry import TelemetryOptions

ATTRIBUTES = (
    'drone-dji:GpsLatitude="47.123456" drone-dji:GpsLongtitude="-8.765432" '
    'drone-dji:GimbalPitchDegree="-41.0" drone-dji:GimbalYawDegree="+92.4" '
    'drone-dji:GimbalRollDegree="+0.50" drone-dji:FlightYawDegree="+88.0" '
    'drone-dji:RelativeAltitude="+60.10" drone-dji:AbsoluteAltitude="+561.20"'
)
SKYDIO = (
    '<drone-skydio:CameraOrientationNED rdf:parseType="Resource"><drone-skydio:Yaw>12.5'
    "</drone-skydio:Yaw><drone-skydio:Pitch>-35</drone-skydio:Pitch>"
    "</drone-skydio:CameraOrientationNED>"
)
GPS = {
    1: "S",
    2: (47.0, 7.0, 24.6),
    3: "W",
    4: (8.0, 45.0, 36.0),
    5: b"\x00",
    6: 561.2,
    7: (8.0, 28.0, 30.5),
    16: "T",
    17: 92.0,
    29: "2026:05:17",
}


def test_dji_writes_the_gimbals_own_direction(tmp_path):
    path = write_still(tmp_path / "DJI_0001.JPG", packet=xmp(ATTRIBUTES), focal=24)
    pose = open_telemetry(path).still(path)
    assert (pose.latitude_deg, pose.longitude_deg) == (47.123456, -8.765432)
    # The gimbal's yaw is absolute: the flight's is never added.
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == (92.4, -41.0, 0.5)
    assert (pose.height_takeoff_m, pose.altitude_m, pose.source) == (60.1, 561.2, "xmp")
    assert pose.hfov_deg == pytest.approx(71.59, abs=0.01)  # 24 mm on 64x48, by the diagonal


@pytest.mark.parametrize(
    ("image_wh", "hfov_deg"),
    [((64, 48), 71.59), ((96, 64), 73.74), ((48, 64), 71.59), ((64, 36), 71.59)],
)
def test_a_focal_length_tells_how_wide_the_longer_side_is(tmp_path, image_wh, hfov_deg):
    """By the diagonal of a sensor of 4:3 or 3:2; 16:9 is cut out of 4:3, as wide as it."""
    path = write_still(tmp_path / "a.jpg", packet=xmp(ATTRIBUTES), focal=24, image_wh=image_wh)
    pose = open_telemetry(path).still(path)
    assert (pose.hfov_deg, pose.hfov_of_long_side) == (pytest.approx(hfov_deg, abs=0.01), True)
    frame = FrameBoxes("a", 0, 0.0, image_wh, *[()] * 4, pose)
    _, _, camera = view_of(frame, FlightGround(LevelGround()))
    long_side = max(image_wh)
    assert 2 * math.degrees(math.atan(long_side / 2 / camera.focal_px)) == pytest.approx(
        hfov_deg, abs=0.01
    )


def test_values_may_be_elements(tmp_path):
    inner = "".join(
        f"<drone-dji:{key}>{value}</drone-dji:{key}>"
        for key, value in (("Latitude", "47.5"), ("Longitude", "8.5"), ("GimbalYawDegree", "-3"))
    )
    path = write_still(tmp_path / "a.jpg", packet=xmp("", inner=inner))
    pose = open_telemetry(path).still(path)
    assert (pose.latitude_deg, pose.longitude_deg, pose.yaw_deg) == (47.5, 8.5, -3)


@pytest.mark.parametrize(
    ("namespaces", "attributes", "inner", "yaw_pitch"),
    [
        (
            'xmlns:drone-parrot="http://www.parrot.com/drone-parrot/1.0/"',
            'drone-parrot:CameraYawDegree="176.3" drone-parrot:CameraPitchDegree="-78.4"',
            "",
            (176.3, -78.4),
        ),
        (
            'xmlns:Camera="http://pix4d.com/camera/1.0/"',
            'Camera:Yaw="10.5" Camera:Pitch="30.0"',
            "",
            (10.5, -60.0),
        ),
        (
            'xmlns:drone-skydio="https://www.skydio.com/drone-skydio/1.0/"',
            "",
            SKYDIO,
            (12.5, -35),
        ),
        (
            'xmlns:drone="http://www.autelrobotics.com/drone/1.0/"',
            'drone:GimbalYawDegree="5" drone:GimbalPitchDegree="-50"',
            "",
            (5, -50),
        ),
    ],
)
def test_other_makers(namespaces, attributes, inner, yaw_pitch, tmp_path):
    packet = xmp(attributes, inner=inner, namespaces=namespaces)
    path = write_still(tmp_path / "a.jpg", packet=packet, gps=GPS)
    track = open_telemetry(path)
    pose = track.still(path)
    assert (pose.yaw_deg, pose.pitch_deg) == pytest.approx(yaw_pitch)
    assert pose.latitude_deg == pytest.approx(-47.1235)
    assert any("EXIF" in one for one in track.assumptions)


def test_exif_alone_has_the_place_and_a_true_direction(tmp_path):
    path = write_still(tmp_path / "a.jpg", gps=GPS)
    pose = open_telemetry(path, TelemetryOptions(telemetry=("exif",))).still(path)
    assert pose.latitude_deg == pytest.approx(-(47 + 7 / 60 + 24.6 / 3600))
    assert pose.longitude_deg == pytest.approx(-8.76)
    assert (pose.altitude_m, pose.altitude_datum) == (561.2, "sea level")
    assert (pose.yaw_deg, pose.pitch_deg) == (92, None)
    assert pose.utc.isoformat() == "2026-05-17T08:28:30.500000+00:00"
    wrong = write_still(tmp_path / "c.jpg", gps=GPS | {2: (47.0, 77.0, 24.6)})
    (reason,) = open_telemetry(wrong, TelemetryOptions(telemetry=("exif",)))
    assert reason.reason == "no_position"
    magnetic = write_still(tmp_path / "b.jpg", gps=GPS | {16: "M"})
    assert open_telemetry(magnetic).still(magnetic).yaw_deg is None


def test_images_without_a_position_are_named_beside_those_with_one(tmp_path):
    paths = [
        write_still(tmp_path / "a.jpg", packet=xmp(ATTRIBUTES)),
        write_still(tmp_path / "b.jpg"),
        write_still(
            tmp_path / "c.jpg",
            packet=xmp('drone-dji:GpsLatitude="0" drone-dji:GpsLongitude="0.0"'),
        ),
    ]
    track = open_telemetry(paths)
    found = [track.still(path) for path in paths]
    assert [getattr(one, "reason", "") for one in found] == ["", "no_position", "no_fix"]
    assert any("2 of 3 images" in one and "b.jpg" in one for one in track.assumptions)
    (reason,) = open_telemetry(paths[1:])
    assert (reason.reason, reason.source) == ("no_position", "xmp")


def test_images_of_one_name_in_two_folders_keep_their_own_poses(tmp_path):
    paths = []
    for folder, latitude in (("100MEDIA", 47.1), ("101MEDIA", 47.2)):
        (tmp_path / folder).mkdir()
        attributes = f'drone-dji:GpsLatitude="{latitude}" drone-dji:GpsLongitude="8"'
        paths.append(write_still(tmp_path / folder / "DJI_0001.JPG", packet=xmp(attributes)))
    track = open_telemetry(paths)
    assert [track.still(path).latitude_deg for path in paths] == [47.1, 47.2]
    assert isinstance(track.still("DJI_0001.JPG"), NoPose)


def test_the_drones_own_calibration_is_the_camera(tmp_path):
    numbers = "3657.0,3651.0,-4.0,23.0,-0.27,0.11,0.0009,0.0001,-0.03"
    attributes = (
        f'{ATTRIBUTES} drone-dji:CalibratedFocalLength="3666.6" '
        'drone-dji:CalibratedOpticalCenterX="2736.0" drone-dji:CalibratedOpticalCenterY="1824.0" '
        f'drone-dji:DewarpData="2018-09-07;{numbers}" drone-dji:DewarpFlag="{{}}"'
    )
    path = write_still(tmp_path / "a.jpg", packet=xmp(attributes.format(0)))
    camera = open_telemetry(path).camera
    assert (camera.width_px, camera.height_px, camera.focal_px) == (5472, 3648, 3654)
    assert (camera.cx_px, camera.cy_px) == (2732, 1847)
    assert camera.brown == (-0.27, 0.11, 0.0009, 0.0001, -0.03)
    straightened = write_still(tmp_path / "b.jpg", packet=xmp(attributes.format(1)))
    camera = open_telemetry(straightened).camera
    assert (camera.focal_px, camera.brown) == (3666.6, (0, 0, 0, 0, 0))


def test_entities_that_grow_without_bound_are_refused_at_once():
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(
            b'<!ENTITY %c "%s">' % (98 + place, b"&%c;" % (97 + place) * 10) for place in range(12)
        )
        + b']><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&m;</rdf:RDF></x:xmpmeta>'
    )
    begin = time.monotonic()
    with pytest.raises(TelemetryError, match="entities"):
        xmp_values(bomb)
    with pytest.raises(TelemetryError, match="entities"):
        xmp_values(bomb.decode().encode("utf-16"))
    assert time.monotonic() - begin < 60  # it ends


@pytest.mark.parametrize(
    ("packet", "match"),
    [
        (xmp("")[:-60], "not XML"),
        (xmp("", inner="<a:b>" * 100 + "</a:b>" * 100), "nested"),
        (b"<rdf:RDF" + b" " * 5_000_000, "bytes"),
        (xmp("", inner='<a b="&unknown;"/>'), "not XML"),
    ],
)
def test_damaged_packets_are_errors(packet, match):
    with pytest.raises(TelemetryError, match=match):
        xmp_values(packet)


def test_damaged_images_are_named(tmp_path):
    good = write_still(tmp_path / "a.jpg", packet=xmp(ATTRIBUTES), gps=GPS)
    content = good.read_bytes()
    bad = tmp_path / "b.jpg"
    for end in (0, 3, 40, 200):
        bad.write_bytes(content[:end])
        track = open_telemetry([good, bad])
        assert isinstance(track.still(good), Pose)
        assert track.still(bad).reason in {"unreadable", "no_position"}
    assert DJI in content.decode("latin-1")
