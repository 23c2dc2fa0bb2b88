"""Telemetry in CSV, ExifTool's JSON, OpenSfM's reconstruction and AU-AIR's annotations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer

from yolo_ema.geo.pose import NoPose, PoseTrack
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.options.telemetry import TelemetryOptions

IMAGES = [Path("images/a.jpg"), Path("images/b.jpg")]


def opened(path: Path, source: Any = "clip.mp4", **more) -> PoseTrack | tuple[NoPose, ...]:
    return open_telemetry(source, TelemetryOptions(telemetry=(str(path),)), **more)


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_table_of_poses(tmp_path):
    text = (
        "Pitch_deg;time_s;latitude_deg;longitude_deg;height_takeoff_m;hfov_deg;note\n"
        "-41;0.0;47.1;8.7;60.5;;x\n\n-42;0.5;47.1001;8.7;61;62\n"
    )
    track = opened(written(tmp_path / "poses.csv", text))
    assert [pose.pitch_deg for pose in track.poses] == [-41, -42]
    assert [pose.hfov_deg for pose in track.poses] == [None, 62]
    assert track.at(0.25).height_takeoff_m == pytest.approx(60.75)
    assert "columns left out: note" in track.assumptions


def test_a_table_of_a_spreadsheet_that_writes_decimal_commas(tmp_path):
    text = "time_s;latitude_deg;longitude_deg;yaw_deg\n0,0;47,1234;8,7;-4,5\n0,5;47,1235;8,7;5,5\n"
    track = opened(written(tmp_path / "poses.csv", text))
    assert track.at(0.25).latitude_deg == pytest.approx(47.12345)
    assert track.at(0.25).yaw_deg == pytest.approx(0.5)


def _tables_of_stills(folder: Path, places: dict[str, float]) -> list[Path]:
    """Write where images are as a CSV and as ExifTool's JSON."""
    header = "image,latitude_deg,longitude_deg,height_takeoff_m,pitch_deg\n"
    rows = "".join(f"{name},{latitude},8,60,-90\n" for name, latitude in places.items())
    records = [
        {"SourceFile": name, "GPSLatitude": latitude, "GPSLongitude": 8.0}
        for name, latitude in places.items()
    ]
    return [written(folder / "a.csv", header + rows), written(folder / "a.json", records)]


@pytest.mark.parametrize("windows", [False, True])
def test_images_of_one_name_in_several_folders_keep_apart(tmp_path, windows):
    """As drones number them anew in each folder."""
    places = {f"DCIM/{folder}/DJI_0001.JPG": float(folder) - 60 for folder in (100, 101)}
    if windows:
        places = {f"D:/{name}".replace("/", "\\"): place for name, place in places.items()}
    for table in _tables_of_stills(tmp_path, places):
        moved = "photos/101/DJI_0001.JPG"
        track = opened(table, [moved])
        assert track.still(moved).latitude_deg == 41
        both = [f"photos/{folder}/DJI_0001.JPG" for folder in (100, 101)]
        track = opened(table, both)
        assert [track.still(path).latitude_deg for path in both] == [40, 41]
        (refused,) = opened(table, ["elsewhere/DJI_0001.JPG"])
        assert refused.reason == "unknown_image"


def test_an_image_of_which_two_places_are_told_has_none(tmp_path):
    header, row = "image,latitude_deg,longitude_deg,height_takeoff_m\n", "a.jpg,47,8,60\n"
    (refused,) = opened(written(tmp_path / "a.csv", header + row + "a.jpg,48,8,60\n"), IMAGES)
    assert refused.reason == "unknown_image"
    track = opened(written(tmp_path / "a.csv", header + 2 * row), IMAGES)
    assert track.still(IMAGES[0]).latitude_deg == 47


@pytest.mark.parametrize(
    ("latitude", "longitude", "refs"),
    [
        ("47 deg 7' 24.44\" S", "8 deg 45' 3.00\" W", {}),
        ("47°7'24.44\"S", "8°45'3.0\"W", {}),
        ([47, 7, 24.44], [8, 45, 3], {"GPSLatitudeRef": "S", "GPSLongitudeRef": "W"}),
        ("47 7 24.44", "8 45 3", {"GPSLatitudeRef": "South", "GPSLongitudeRef": "West"}),
        ("-47.12345556", -8.7508333, {}),
        (["-47.12345556"], "8.7508333 W", {}),
    ],
)
def test_exiftool_writes_places_in_many_ways(tmp_path, latitude, longitude, refs):
    one = {"SourceFile": "a.jpg", "GPSLatitude": latitude, "GPSLongitude": longitude} | refs
    pose = opened(written(tmp_path / "e.json", [one]), IMAGES).still(IMAGES[0])
    assert (pose.latitude_deg, pose.longitude_deg) == pytest.approx((-47.1234556, -8.7508333))


@pytest.mark.parametrize(
    ("tags", "altitude_m"),
    [
        ({"EXIF:GPSAltitudeRef": 1, "EXIF:GPSAltitude": 400, "Composite:GPSAltitude": -400}, -400),
        ({"GPSAltitudeRef": "Below Sea Level", "GPSAltitude": "400 m"}, -400),
        ({"Composite:GPSAltitude": "400 m Below Sea Level"}, -400),
        ({"EXIF:GPSAltitudeRef": 0, "EXIF:GPSAltitude": 400}, 400),
        ({"GPSAltitude": "400 m Above Sea Level"}, 400),
        ({"GPSAltitudeRef": 1, "GPSAltitude": 2, "AbsoluteAltitude": "+1.5"}, 1.5),
    ],
)
def test_exiftool_says_on_which_side_of_sea_level_a_place_lies(tmp_path, tags, altitude_m):
    one = {"SourceFile": "a.jpg", "GPSLatitude": 31.5, "GPSLongitude": 35.5} | tags
    assert opened(written(tmp_path / "e.json", [one]), IMAGES).still(IMAGES[0]).altitude_m == (
        altitude_m
    )


@pytest.mark.parametrize(
    ("latitude", "longitude", "reason"),
    [
        (0, 0, "no_fix"),
        ("47 deg 70' 3\" N", 8.7, "no_position"),
        ({"value": 47.1}, 8.7, "no_position"),
        (None, None, "no_position"),
    ],
)
def test_stills_without_a_place_are_nowhere(tmp_path, latitude, longitude, reason):
    one = {"SourceFile": "a.jpg", "GPSLatitude": latitude, "GPSLongitude": longitude}
    (found,) = opened(written(tmp_path / "e.json", [one]), IMAGES)
    assert found.reason == reason


def test_a_table_by_utc_and_one_by_image(tmp_path):
    by_utc = written(
        tmp_path / "a.csv",
        "utc,latitude_deg,longitude_deg\n2026-05-17T08:00:01Z,47,8\n2026-05-17T10:00:02.5+02:00,47,8\n",
    )
    (reason,) = opened(by_utc)
    assert reason.reason == "no_common_clock"
    track = open_telemetry(
        "clip.mp4", TelemetryOptions(telemetry=(str(by_utc),), telemetry_offset=3)
    )
    assert [pose.time_s for pose in track.poses] == [3, 4.5]
    by_image = written(tmp_path / "b.csv", "image,latitude_deg,longitude_deg\nimages/a.jpg,47,8\n")
    track = opened(by_image, IMAGES)
    assert track.still(IMAGES[0]).latitude_deg == 47
    assert track.still(IMAGES[1]).reason == "unknown_image"
    assert any("1 of 2 images" in one for one in track.assumptions)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("time_s,latitude,longitude_deg\n0,47,8\n", ["lacks latitude_deg", "latitude"]),
        ("latitude_deg,longitude_deg\n47,8\n", ["time_s, utc or image"]),
        ("time_s,latitude_deg,longitude_deg\n0,47,8\n1,4x7,8\n", ["line 3", "latitude_deg", "4x7"]),
        ("time_s,latitude_deg,longitude_deg\n0,47,8\n1,97,8\n", ["line 3", "-90 to 90"]),
        ("time_s,latitude_deg,longitude_deg\n0,47,8\n1,47\n", ["line 3", "longitude_deg", "empty"]),
        ("time_s,latitude_deg,longitude_deg\n0,47,8,9\n", ["line 2", "4 cells"]),
        ("time_s,latitude_deg,longitude_deg,time_s\n0,47,8,9\n", ["twice"]),
        ("utc,latitude_deg,longitude_deg\nnoon,47,8\n", ["line 2", "column utc", "noon"]),
        ("time_s,latitude_deg,longitude_deg\n", ["no lines"]),
        ('time_s,latitude_deg,longitude_deg\n0,"47,8\n', ["line 2"]),
        ("time_s,latitude_deg,longitude_deg\nnan,47,8\n", ["line 2", "time_s"]),
    ],
)
def test_faults_of_a_table_are_named_by_line_and_column(text, words, tmp_path):
    (reason,) = opened(written(tmp_path / "poses.csv", text))
    for word in words:
        assert word in str(reason)


def djmd(documents: int, **more: Any) -> list[dict[str, Any]]:
    """ExifTool's JSON of a video with a djmd track."""
    one: dict[str, Any] = {"SourceFile": "/card/DJI_0001.MP4", "Main:Model": "Mavic 3E"}
    for place in range(1, documents + 1):
        doc = f"Doc{place}"
        one |= {
            f"{doc}:SampleTime": (place - 1) * 0.033,
            f"{doc}:GPSLatitude": 47.1 + place * 1e-6,
            f"{doc}:GPSLongitude": 8.7,
            f"{doc}:AbsoluteAltitude": 561.2,
            f"{doc}:RelativeAltitude": 60.1,
            f"{doc}:GimbalPitch": -41.0,
            f"{doc}:GimbalRoll": 0.2,
            f"{doc}:GimbalYaw": 92.4,
            f"{doc}:DroneYaw": 10.0,
            f"{doc}:DigitalZoom": 2.0,
        }
    return [one | more]


def test_exiftool_of_a_djmd_track(tmp_path):
    track = opened(written(tmp_path / "x.json", djmd(30)))
    assert (track.source, len(track.poses)) == ("exiftool", 30)
    pose = track.poses[29]
    assert (pose.time_s, pose.yaw_deg, pose.pitch_deg) == (pytest.approx(0.957), 92.4, -41)
    assert (pose.height_takeoff_m, pose.altitude_m) == (60.1, 561.2)
    # Found beside the video, too.
    written(tmp_path / "DJI_0001.json", djmd(3))
    (tmp_path / "DJI_0001.MP4").write_bytes(b"")
    track = open_telemetry(
        tmp_path / "DJI_0001.MP4", TelemetryOptions(telemetry=("exiftool",), camera="mavic3")
    )
    # 24 mm, which the tags lack, with the digital zoom that they have: half the tangent.
    assert track.poses[0].hfov_deg == pytest.approx(39.66, abs=0.01)


def test_exiftool_in_words_as_without_n(tmp_path):
    one = {
        "SourceFile": "images/a.jpg",
        "EXIF:GPSLatitude": "47 deg 7' 24.44\" S",
        "EXIF:GPSLongitude": "8 deg 45' 55.56\" W",
        "XMP:RelativeAltitude": "+60.10",
        "XMP:GimbalYawDegree": "+92.40",
        "EXIF:FocalLengthIn35mmFormat": "24 mm",
        "Composite:GPSDateTime": "2026:05:17 08:28:30.25Z",
    }
    track = opened(written(tmp_path / "x.json", [one, {"SourceFile": "images/b.jpg"}]), IMAGES)
    pose = track.still(IMAGES[0])
    assert pose.latitude_deg == pytest.approx(-47.123456, abs=1e-6)
    assert pose.longitude_deg == pytest.approx(-8.765433, abs=1e-6)
    assert (pose.yaw_deg, pose.height_takeoff_m) == (92.4, 60.1)
    assert pose.hfov_deg == pytest.approx(71.59, abs=0.01)
    assert pose.utc.microsecond == 250_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([{"SourceFile": "a.mp4"}], "no_position"),
        ([djmd(2)[0], djmd(2, SourceFile="b.mp4")[0]], "other_clip"),
        (
            [{"SourceFile": "a.mp4", "Doc1:GPSLatitude": 47, "Doc1:GPSLongitude": 8}],
            "no_common_clock",
        ),
        ({"a": 1}, "unreadable"),
        ("{", "unreadable"),
        ("[" * 100_000, "unreadable"),
    ],
)
def test_json_without_poses_says_why(content, reason, tmp_path):
    (found,) = opened(written(tmp_path / "x.json", content))
    assert found.reason == reason, found


def axis_angle(rotation: np.ndarray) -> list[float]:
    angle = math.acos((np.trace(rotation) - 1) / 2)
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    return list(axis / (2 * math.sin(angle)) * angle)


def reconstruction(yaw: float, pitch: float, place_enu: tuple[float, float, float]) -> list[Any]:
    """A shot of a level camera, its rows right, down and forward as the documentation has them."""
    y, p = math.radians(yaw), math.radians(pitch)
    forward = np.array([math.sin(y) * math.cos(p), math.cos(y) * math.cos(p), math.sin(p)])
    right = np.array([math.cos(y), -math.sin(y), 0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    shot = {
        "rotation": axis_angle(rotation),
        "translation": list(-rotation @ np.array(place_enu)),
        "camera": "one",
    }
    camera = {
        "projection_type": "brown",
        "width": 4000,
        "height": 3000,
        "focal_x": 0.7,
        "focal_y": 0.7,
        "c_x": 0.01,
        "c_y": -0.01,
        "k1": -0.1,
        "k2": 0.01,
        "p1": 0.001,
        "p2": 0.002,
        "k3": 0.0,
    }
    lla = {"latitude": -33.5, "longitude": 151.2, "altitude": 20.0}
    return [{"cameras": {"one": camera}, "shots": {"a": shot}, "reference_lla": lla}]


@pytest.mark.parametrize(("yaw", "pitch"), [(30, -45), (-170, -20), (92.5, -85), (0.5, 0)])
def test_a_reconstructed_shot(yaw, pitch, tmp_path):
    """The place against pyproj's own topocentric conversion."""
    path = written(tmp_path / "r.json", reconstruction(yaw, pitch, (800.0, -500.0, 120.0)))
    pose = opened(path, IMAGES).still(IMAGES[0])
    assert (pose.yaw_deg, pose.pitch_deg) == pytest.approx((yaw, pitch), abs=1e-7)
    assert pose.roll_deg == pytest.approx(0, abs=1e-7)
    to_degrees = Transformer.from_pipeline(
        "+proj=pipeline +step +inv +proj=topocentric +ellps=WGS84 +lat_0=-33.5 +lon_0=151.2 "
        "+h_0=20 +step +inv +proj=cart +ellps=WGS84 +step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )
    longitude, latitude, altitude = to_degrees.transform(800.0, -500.0, 120.0)
    assert pose.latitude_deg == pytest.approx(latitude, abs=1e-9)
    assert pose.longitude_deg == pytest.approx(longitude, abs=1e-9)
    assert pose.altitude_m == pytest.approx(altitude, abs=1e-3)
    camera = pose.camera
    assert (camera.focal_px, camera.cx_px, camera.cy_px) == pytest.approx((2800, 2040, 1460))
    assert camera.brown == (-0.1, 0.01, 0.001, 0.002, 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.pop("reference_lla"), "reference_lla"),
        (lambda one: one["shots"]["a"].update(rotation=[1, 2]), "rotation of shot a"),
        (lambda one: one["shots"]["a"].update(translation=[1, 2, "x"]), "translation of shot a"),
        (lambda one: one["shots"]["a"].update(camera="two"), "camera"),
        (lambda one: one["shots"].update(a=3), "shot a"),
        (lambda one: one["cameras"]["one"].update(projection_type="spherical"), "spherical"),
        (lambda one: one["cameras"]["one"].update(focal_x=0, focal_y=0), "cannot be"),
        (lambda one: one["cameras"]["one"].pop("width"), "width"),
        (lambda one: one.update(cameras=[]), "cameras"),
        (lambda one: one.update(shots=[1]), "shots"),
    ],
)
def test_damaged_reconstructions_are_named(change, words, tmp_path):
    content = reconstruction(30, -45, (1, 2, 3))
    change(content[0])
    (reason,) = opened(written(tmp_path / "r.json", content), IMAGES)
    assert words in str(reason)


def test_poses_given_to_opendronemap(tmp_path):
    """Pix4D's angles: pitch 0 is straight down."""
    head = "filename latitude longitude altitude roll pitch yaw camera other\n"
    path = written(
        tmp_path / "lla.csv",
        head + 'a.jpg 24.5 120.9 186.5 0.0 30.0 92.9 "dji fc 1 2" x\nb.jpg 24 120 1 10 0 0 "c" x\n',
    )
    track = opened(path, IMAGES)
    pose = track.still(IMAGES[0])
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((92.9, -60, 0))
    # Rolled about the direction of flight, north, it looks 10 degrees from straight down: the
    # right side goes down, so that the lower side of the body shows the west.
    tilted = track.still(IMAGES[1])
    assert (tilted.yaw_deg, tilted.pitch_deg) == pytest.approx((-90, -80))
    (reason,) = opened(written(tmp_path / "lla.csv", head + "a.jpg 24.5 x 1 0 0 0\n"), IMAGES)
    assert "longitude in line 2" in str(reason)
    (reason,) = opened(written(tmp_path / "lla.csv", head + "a.jpg 24.5\n"), IMAGES)
    assert "line 2 has 2 words" in str(reason)


def test_auair_is_a_table_of_units(tmp_path):
    row = {
        "image_name": "a.jpg",
        "latitude": 56.2,
        "longtitude": 10.1,
        "altitude": 15_077.8,
        "angle_phi": 0.1,
        "angle_theta": 0.2,
        "angle_psi": math.radians(69.0),
    }
    content = {"annotations": [row, {"image_name": "b.jpg", "angle_psi": 0.0}, 3]}
    track = opened(written(tmp_path / "x.json", content), IMAGES)
    pose = track.still(IMAGES[0])
    assert (pose.height_takeoff_m, pose.yaw_deg) == pytest.approx((15.0778, 69.0))
    assert pose.pitch_deg is None
    assert track.missing == ("pitch", "hfov")
    assert track.still(IMAGES[1]).reason == "no_position"
