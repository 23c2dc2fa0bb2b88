"""Places of live frames: by the pose of their own moment, on ground that is opened seldom, with the
reason where there is none.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from yolo_ema.detect.live_places import LivePlaces
from yolo_ema.errors import DataNotFoundError
from yolo_ema.geo.geodesic import geodesic_inverse
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.options.mapping import MapOptions

NAMES = {0: "pedestrian", 3: "car"}
POSE = Pose(
    0.0, 47.1234, 8.7654, height_takeoff_m=50.0, yaw_deg=30.0, pitch_deg=-40.0, roll_deg=0.0,
    hfov_deg=60.0, source="mavlink",
)  # fmt: skip


class Told:
    """Telemetry that says what the test says, and keeps the moments it was asked for."""

    max_age_s = 2.0

    def __init__(self, *poses: Pose | NoPose) -> None:
        self._poses, self.asked = list(poses), []

    def at(self, monotonic_s: float) -> Pose | NoPose:
        self.asked.append(monotonic_s)
        return self._poses.pop(0) if len(self._poses) > 1 else self._poses[0]

    def age_s(self, pose: Pose, monotonic_s: float) -> float:
        return 0.25

    def close(self) -> None:
        self.asked.append(math.nan)


def found(*boxes, received_s: float | None = 5.0, track: bool = True) -> FrameDetections:
    frame = Frame(np.zeros((360, 640, 3), np.uint8), "rtsp://cam", 7, 1.5, received_s)
    count = len(boxes)
    return FrameDetections(
        frame,
        np.array(boxes, float).reshape(-1, 4),
        np.linspace(0.9, 0.5, count),
        np.full(count, 3),
        NAMES,
        np.arange(count) if track else None,
    )


def test_the_place_is_where_the_line_of_view_meets_the_ground():
    box = (400, 150, 440, 200)
    located = LivePlaces(Told(POSE), MapOptions(base="bottom")).locate(found(box))
    (longitude, latitude, error_m) = located.detections.places[0]
    # by hand: right, down and ahead of the lower edge's middle, turned into the world
    focal = 320 / math.tan(math.radians(30))
    right, down = (420 - 320) / focal, (200 - 180) / focal
    tilt, yaw = math.radians(40), math.radians(30)
    ahead, fall = math.cos(tilt) - down * math.sin(tilt), math.sin(tilt) + down * math.cos(tilt)
    ahead_m, right_m = 50 * ahead / fall, 50 * right / fall
    north = ahead_m * math.cos(yaw) - right_m * math.sin(yaw)
    east = ahead_m * math.sin(yaw) + right_m * math.cos(yaw)
    azimuth, distance = geodesic_inverse(POSE.latitude_deg, POSE.longitude_deg, latitude, longitude)
    turned = math.radians(float(azimuth))
    assert distance * math.sin(turned) == pytest.approx(east, abs=0.02)
    assert distance * math.cos(turned) == pytest.approx(north, abs=0.02)
    (shown,) = located.on_map()["objects"]
    assert shown["position_error_m"] == round(error_m, 2) >= shown["error_minor_m"] > 0
    assert (shown["class"], shown["track_id"]) == ("car", 0)
    assert (shown["longitude"], shown["latitude"]) == (round(longitude, 7), round(latitude, 7))
    row = located.detections.as_json()["detections"][0]
    assert row["position_error_m"] == round(error_m, 2)
    assert located.on_map()["camera"]["age_s"] == 0.25


def test_the_pose_is_that_of_the_moment_at_which_the_frame_arrived():
    told = Told(POSE)
    LivePlaces(told, MapOptions()).locate(found((0, 300, 20, 320), received_s=123.25))
    assert told.asked == [123.25]
    recorded = LivePlaces(told, MapOptions()).locate(found((0, 300, 20, 320), received_s=None))
    assert recorded.pose.reason == "no_common_clock"
    assert told.asked == [123.25]


def test_what_has_no_place_is_counted_by_reason():
    level = Pose(**{**vars(POSE), "pitch_deg": -5.0})
    places = LivePlaces(Told(level, NoPose("stale", "it is 3.0 s old")), MapOptions())
    above, below = (300, 10, 340, 40), (300, 300, 340, 350)
    located = places.locate(found(above, below))
    assert np.isnan(located.detections.places[0]).all()
    assert np.isfinite(located.detections.places[1]).all()
    rows = located.detections.as_json()["detections"]
    assert ["longitude" in row for row in rows] == [False, True]
    assert [(one["reason"], one["count"]) for one in located.on_map()["unplaced"]] == [
        ("above_horizon", 1)
    ]
    assert located.on_map()["frames_without_pose"] == {}
    stale = places.locate(found(above, below)).on_map()
    assert stale["camera"] is None
    assert stale["no_camera"] == "it is 3.0 s old"
    assert [(one["reason"], one["count"]) for one in stale["unplaced"]] == [("stale", 2)]
    assert places.locate(found()).on_map()["frames_without_pose"] == {"stale": 2}


def test_a_pose_without_field_of_view_says_what_to_give():
    pose = Pose(**{**vars(POSE), "hfov_deg": None})
    shown = LivePlaces(Told(pose), MapOptions()).locate(found((0, 0, 9, 9))).on_map()
    assert "--hfov" in shown["no_camera"]
    assert shown["objects"] == shown["view"] == []


def test_the_view_surrounds_what_is_seen_and_ends_below_the_horizon():
    located = LivePlaces(Told(POSE), MapOptions(base="centre")).locate(found((310, 170, 330, 190)))
    border = np.array(located.on_map()["view"])
    middle = located.detections.places[0, :2]
    assert (border.min(axis=0) < middle).all()
    assert (border.max(axis=0) > middle).all()
    low = Pose(**{**vars(POSE), "pitch_deg": -3.0})
    border = np.array(LivePlaces(Told(low), MapOptions()).locate(found()).on_map()["view"])
    away = geodesic_inverse(POSE.latitude_deg, POSE.longitude_deg, border[:, 1], border[:, 0])[1]
    assert away.max() == pytest.approx(50 / math.tan(math.radians(10)), rel=1e-3)
    up = Pose(**{**vars(POSE), "pitch_deg": 45.0})
    assert LivePlaces(Told(up), MapOptions()).locate(found()).on_map()["view"] == []


def test_memory_does_not_grow_with_frames():
    """What it holds after many frames is what it held after a few."""
    places = LivePlaces(Told(POSE), MapOptions())
    held = []
    for _ in range(3):
        for _ in range(20):
            places.locate(found((0, 300, 20, 320)))
        held.append(
            {name: repr(value) for name, value in vars(places).items() if name != "_telemetry"}
        )
    assert held[0] == held[2]


def test_a_missing_surface_model_is_reported_at_once(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"no\.tif"):
        LivePlaces(Told(POSE), MapOptions(dem=tmp_path / "no.tif"))
    assert LivePlaces.listening(MapOptions(telemetry=("auto",))) is None


def test_on_a_surface_model_the_first_pose_is_the_take_off_and_the_ground_is_read_again(tmp_path):
    """The take-off lies in a pit 20 m deep; a kilometre on the model ends."""
    pyproj, rasterio = pytest.importorskip("pyproj"), pytest.importorskip("rasterio")
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    east, north = to_utm.transform(POSE.longitude_deg, POSE.latitude_deg)
    heights = np.full((400, 1000), 420, np.float32)
    heights[195:205, 195:205] = 400
    with rasterio.open(
        tmp_path / "dem.tif", "w", driver="GTiff", width=1000, height=400, count=1,
        dtype="float32", crs="EPSG:32632",
        transform=rasterio.transform.from_origin(east - 200, north + 200, 1, 1),
    ) as file:  # fmt: skip
        file.write(heights, 1)

    def moved(metres: float, height_m: float) -> Pose:
        longitude, latitude = to_utm.transform(east + metres, north, direction="INVERSE")
        place = {"latitude_deg": latitude, "longitude_deg": longitude}
        return Pose(**{**vars(POSE), "height_takeoff_m": height_m, **place})

    flown = [moved(0, 1), moved(0, 50), moved(450, 50), moved(900, 50)]
    places = LivePlaces(Told(*flown), MapOptions(base="centre", dem=tmp_path / "dem.tif"))
    box = (310, 170, 330, 190)
    for pose, above_m in zip(flown, (1, 30, 30), strict=False):  # first the floor of the pit
        longitude, latitude, _ = places.locate(found(box)).detections.places[0]
        away = geodesic_inverse(pose.latitude_deg, pose.longitude_deg, latitude, longitude)[1]
        assert away == pytest.approx(above_m / math.tan(math.radians(40)), abs=0.1)
    beyond = places.locate(found(box)).on_map()
    assert [one["reason"] for one in beyond["unplaced"]] == ["outside_surface_model"]


def test_poses_between_two_packets_are_those_of_the_moment():
    messages = pytest.importorskip("pymavlink.dialects.v20.ardupilotmega")
    from yolo_ema.geo.telemetry.live import LiveTelemetry

    with LiveTelemetry("udp:127.0.0.1:0") as live:
        now = time.monotonic()
        for seconds, east in ((-1.0, 0), (0.0, 1000)):
            message = messages.MAVLink_global_position_int_message(
                0, 471234000, 87654000 + east, 0, 50000, 0, 0, 0, 9000
            )
            message._header = messages.MAVLink_header(33, srcSystem=1, srcComponent=1)
            live._streams.take(message, live._zero_s + now + seconds)
        assert live.at(now - 0.25).longitude_deg == pytest.approx(8.7654 + 0.75e-4, abs=1e-9)
        assert live.at(now - 1).longitude_deg == pytest.approx(8.7654, abs=1e-9)
        late = live.at(now + 0.5)
        assert late.longitude_deg == pytest.approx(8.7655, abs=1e-9)
        assert live.age_s(late, now + 0.5) == pytest.approx(0.5, abs=1e-3)
        assert live.at(now + 2.5).reason == "stale"
        assert live.at(now - 60).reason == "before_telemetry"
