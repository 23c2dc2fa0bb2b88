from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pyproj import Geod

from yolo_ema.geo.pose import REASONS, LostSample, NoPose, Pose, PoseTrack

GEOD = Geod(ellps="WGS84")


def track(*poses: Pose, **more) -> PoseTrack:
    return PoseTrack(poses, "test", **more)


@pytest.mark.parametrize(
    ("first", "second", "share", "expected"),
    [(170, -170, 0.5, -180), (-170, 170, 0.25, -175), (10, 30, 0.5, 20), (350, 10, 0.5, 0)],
)
def test_yaw_turns_on_the_shortest_arc(first, second, share, expected):
    found = track(Pose(0, 47, 8, yaw_deg=first), Pose(1, 47, 8, yaw_deg=second)).at(share)
    assert (found.yaw_deg - expected) % 360 == pytest.approx(0, abs=1e-9)


def test_a_place_between_two_samples_lies_on_the_way_between_them():
    """Values against pyproj's geodesic, across the antimeridian."""
    first, second = Pose(0, -17.5, 179.9995), Pose(2, -17.4992, -179.9996)
    azimuth, _, length = GEOD.inv(179.9995, -17.5, -179.9996, -17.4992)
    longitude, latitude, _ = GEOD.fwd(179.9995, -17.5, azimuth, length * 0.3)
    found = track(first, second).at(0.6)
    assert found.latitude_deg == pytest.approx(latitude, abs=1e-10)
    assert (found.longitude_deg - longitude) % 360 == pytest.approx(0, abs=1e-10)


def test_what_one_sample_lacks_the_pose_between_lacks():
    found = track(
        Pose(0, 47, 8, height_takeoff_m=10, pitch_deg=-30, hfov_deg=60),
        Pose(1, 47, 8, height_takeoff_m=20, hfov_deg=70),
    ).at(0.25)
    assert (found.height_takeoff_m, found.pitch_deg, found.hfov_deg) == (12.5, None, 62.5)


def test_frames_of_a_variable_rate_get_the_pose_of_their_own_time():
    utc = datetime(2026, 5, 17, tzinfo=timezone.utc)
    one = track(
        Pose(0, 47, 8, altitude_m=0, utc=utc),
        Pose(0.5, 47, 8, altitude_m=5, utc=utc + timedelta(seconds=0.5)),
        Pose(2.0, 47, 8, altitude_m=35, utc=utc + timedelta(seconds=2)),
    )
    for time_s, altitude in ((0.1, 1), (0.5, 5), (0.55, 6), (1.999, 34.98)):
        found = one.at(time_s)
        assert found.altitude_m == pytest.approx(altitude)
        assert (found.utc - utc).total_seconds() == pytest.approx(time_s)


def test_no_pose_is_made_across_a_gap_or_far_outside():
    one = track(Pose(0, 47, 8), Pose(1, 47, 8), Pose(4, 47, 8), Pose(5, 47, 8))
    assert one.at(2.5).reason == "gap"
    assert "1.000 to 4.000 s" in str(one.at(2.5))
    # The usual step is 1 s: that long the first and the last hold.
    assert isinstance(one.at(-0.9), Pose)
    assert one.at(-0.9).time_s == -0.9
    assert isinstance(one.at(5.9), Pose)
    assert one.at(-1.1).reason == "before_telemetry"
    assert one.at(6.1).reason == "after_telemetry"


def test_a_gap_names_why_the_samples_in_it_are_lost():
    lost = (LostSample(2, "no_fix"), LostSample(3, "no_fix"), LostSample(7, "jump"))
    one = track(Pose(0, 47, 8), Pose(1, 47, 8), Pose(4, 47, 8), lost=lost)
    assert one.at(2).reason == "no_fix"
    assert one.at(7).reason == "jump"


def test_a_turn_whose_direction_is_unsure_is_no_pose():
    one = track(Pose(0, 47, 8, yaw_deg=0), Pose(1, 47, 8, yaw_deg=150))
    assert one.at(0.5).reason == "turn"
    assert one.at(1).yaw_deg == 150


def test_a_single_pose_holds_only_as_long_as_its_subtitle():
    assert track(Pose(0, 47, 8)).at(0.1).reason == "after_telemetry"
    assert isinstance(track(Pose(0, 47, 8), hold_s=0.5).at(0.4), Pose)
    assert track(Pose(0, 47, 8), hold_s=60).at(2.5).reason == "after_telemetry"


def test_no_poses_at_all():
    assert track().at(0).reason == "no_position"
    assert str(NoPose("gap", source="srt")) == f"srt: {REASONS['gap']}"


def test_stills_are_found_by_path_name_and_name_without_suffix():
    poses = {"a/1.jpg": Pose(0, 47, 8), "2.jpg": Pose(0, 48, 8), "3": Pose(0, 49, 8)}
    one = track(stills=poses)
    assert one.still("a/1.jpg").latitude_deg == 47
    assert one.still("b/2.jpg").latitude_deg == 48
    assert one.still("c/3.tif").latitude_deg == 49
    assert one.still("4.jpg").reason == "unknown_image"
    assert one.missing == ("height", "yaw", "pitch", "hfov")
