from __future__ import annotations

import sys
from pathlib import Path

import pytest
from telemetry_files import srt, timecode, tlog, write_video

from yolo_ema.errors import ConfigError
from yolo_ema.geo.pose import NoPose, PoseTrack
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.options.telemetry import TelemetryOptions

ROW = "GPS(8.{:04d},47.1234,12) BAROMETER:{}.0"


def rows(*longitudes: int) -> str:
    return srt([ROW.format(one, place) for place, one in enumerate(longitudes)], step_s=1)


def opened(tmp_path: Path, text: str, **more) -> PoseTrack | tuple[NoPose, ...]:
    options = {key: more.pop(key) for key in list(more) if key != "duration_s"}
    path = tmp_path / "x.srt"
    path.write_text(text, encoding="utf-8")
    return open_telemetry("clip.mp4", TelemetryOptions(telemetry=(str(path),), **options), **more)


def test_auto_tries_every_kind_and_each_says_why_not(tmp_path):
    video = write_video(tmp_path / "flight.mp4")
    reasons = open_telemetry(video)
    assert [one.source for one in reasons] == [
        "srt", "subtitles", "klv", "exiftool", "csv", "mavlink",
    ]  # fmt: skip
    assert {one.reason for one in reasons} == {"not_found"}
    assert "flight.srt" in str(reasons[0])
    (tmp_path / "flight.SRT").write_text(rows(1, 2, 3))
    track = open_telemetry(video, duration_s=2.0)
    assert (track.source, len(track.poses)) == ("srt", 3)


def test_the_users_order_holds(tmp_path):
    video = write_video(tmp_path / "flight.mp4")
    (tmp_path / "flight.srt").write_text(rows(1, 2, 3))
    (tmp_path / "other.csv").write_text("time_s,latitude_deg,longitude_deg\n0,10,20\n2,10,20\n")
    words = ("klv", str(tmp_path / "other.csv"), "auto")
    assert open_telemetry(video, TelemetryOptions(telemetry=words)).source == "csv"
    assert open_telemetry(video, TelemetryOptions(telemetry=("klv", "auto"))).source == "srt"
    (reason,) = open_telemetry(video, TelemetryOptions(telemetry=(str(tmp_path / "no.csv"),)))
    assert reason.reason == "not_found"
    with pytest.raises(ConfigError, match="did you mean 'srt'"):
        open_telemetry(video, TelemetryOptions(telemetry=("srd",)))


def test_another_clips_telemetry_is_refused_by_its_length(tmp_path):
    text = rows(*range(60))
    assert isinstance(opened(tmp_path, text, duration_s=60.5), PoseTrack)
    (longer,) = opened(tmp_path, text, duration_s=20.0)
    assert longer.reason == "other_clip"
    assert "60.0 s" in str(longer)
    assert "--telemetry-offset" in str(longer)
    (shorter,) = opened(tmp_path, text, duration_s=200.0)
    assert shorter.reason == "too_short"
    # The user's word that they belong together, and by how much they are apart.
    track = opened(tmp_path, text, duration_s=20.0, telemetry_offset=-30.0)
    assert track.at(0).height_takeoff_m == 30
    assert any("-30 s are added" in one for one in track.assumptions)
    (none,) = opened(tmp_path, text, duration_s=20.0, telemetry_offset=100.0)
    assert none.reason == "other_clip"


def test_a_place_that_jumps_is_left_out_and_one_that_jumps_for_good_too(tmp_path):
    track = opened(tmp_path, rows(1, 2, 3, 9000, 5, 6))
    assert [pose.height_takeoff_m for pose in track.poses] == [0, 1, 2, 4, 5]
    assert any("1 (the position jumps" in one for one in track.assumptions)
    track = opened(tmp_path, rows(1, 2, 3, 4, 9000, 9001, 9002))
    assert [pose.height_takeoff_m for pose in track.poses] == [0, 1, 2, 3]
    assert track.at(5.5).reason == "jump"
    # A fast drone is none: 75 m in each second.
    assert len(opened(tmp_path, rows(*range(0, 100, 10))).poses) == 10


def test_height_that_jumps_is_left_out(tmp_path):
    text = srt(
        [f"GPS(8.10000,47.10000,12) BAROMETER:{height}" for height in (50, 51, 900, 53)], step_s=0.5
    )
    assert [pose.height_takeoff_m for pose in opened(tmp_path, text).poses] == [50, 51, 53]


def cues(times: list[float], longitudes: list[int]) -> str:
    return "\n".join(
        f"1\n{timecode(at)} --> {timecode(at + 0.1)}\n{ROW.format(one, place)}\n"
        for place, (at, one) in enumerate(zip(times, longitudes, strict=True))
    )


def test_duplicates_and_samples_out_of_order(tmp_path):
    track = opened(tmp_path, cues([0, 1, 1, 2], [1, 2, 2, 3]))
    assert [pose.height_takeoff_m for pose in track.poses] == [0, 2, 3]  # the last of a moment
    track = opened(tmp_path, cues([0, 1, 1, 2], [1, 2, 700, 3]))
    assert [pose.time_s for pose in track.poses] == [0, 2]
    assert track.at(1).time_s == 1  # by its neighbours, 2 s apart
    assert any("2 (samples of one moment lie at different places)" in one
               for one in track.assumptions)  # fmt: skip
    track = opened(tmp_path, cues([0, 1, 0.5, 2], [1, 2, 2, 3]))
    assert [pose.time_s for pose in track.poses] == [0, 0.5, 1, 2]
    assert any("1 samples that came late" in one for one in track.assumptions)
    (reason,) = opened(tmp_path, cues([0, 1, 2, 0, 1, 2], [1, 2, 3, 4, 5, 6]))
    assert reason.reason == "disordered"
    assert "sample 4" in str(reason)


def test_what_the_user_gives_takes_the_telemetrys_place_and_is_said(tmp_path):
    angles = "[gb_yaw: 92.4 gb_pitch: -41.0 gb_roll: 0.0]"
    text = srt([f"[latitude: 47.1] [longitude: 8.1] [rel_alt: 50.0 abs_alt: 500.0] {angles}"] * 3)
    track = opened(tmp_path, text, pitch=-90.0, yaw=350.0, roll=2.0, hfov=70.0, ground_height=5.0)
    pose = track.poses[0]
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg, pose.hfov_deg) == (-10, -90, 2, 70)
    said = "\n".join(track.assumptions)
    assert "pitch is -90 degrees, as given, instead of the telemetry's -41" in said
    assert "above the point of take-off" not in said  # the ground's height is given
    assert "above the point of take-off" in "\n".join(opened(tmp_path, text).assumptions)
    with pytest.raises(ConfigError, match="mavic"):
        opened(tmp_path, text, camera="mavic33")


def test_a_known_camera_gives_the_field_of_view(tmp_path):
    track = opened(tmp_path, rows(1, 2), camera="mavic3")
    assert track.poses[0].hfov_deg == pytest.approx(71.59, abs=0.01)
    assert track.missing == ("yaw", "pitch")


def test_times_in_utc_that_lie_in_the_future_are_left_out(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("utc,latitude_deg,longitude_deg\n2999-01-01T00:00:00Z,47,8\n")
    options = TelemetryOptions(telemetry=(str(path),), telemetry_offset=0)
    track = open_telemetry("clip.mp4", options)
    assert track.poses[0].utc is None
    assert any("2999-01-01, which lies in the future" in one for one in track.assumptions)


def test_telemetry_of_the_other_sort_of_source_says_so(tmp_path):
    (tmp_path / "x.srt").write_text(rows(1, 2))
    (reason,) = open_telemetry(
        [Path("a.jpg")], TelemetryOptions(telemetry=(str(tmp_path / "x.srt"),))
    )
    assert reason.reason == "unknown_image"
    (tmp_path / "x.csv").write_text("image,latitude_deg,longitude_deg\na.jpg,47,8\n")
    (reason,) = open_telemetry("clip.mp4", TelemetryOptions(telemetry=(str(tmp_path / "x.csv"),)))
    assert reason.reason == "unknown_image"
    assert open_telemetry([])[0].reason == "not_found"
    (reason,) = open_telemetry("a.jpg", TelemetryOptions(telemetry=("odm",)))
    assert "reconstruction.json" in str(reason)


def test_a_missing_package_is_a_reason_that_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "x.tlog"
    path.write_bytes(tlog([]) + b"\0" * 100)
    for name in ("pymavlink", "pymavlink.dialects.v20"):
        monkeypatch.setitem(sys.modules, name, None)
    (reason,) = open_telemetry("clip.mp4", TelemetryOptions(telemetry=(str(path),)))
    assert reason.reason == "missing_package"
    assert 'pip install "yolo-ema[mavlink]"' in str(reason)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pitch": 100.0}, "--pitch is 100"),
        ({"hfov": 0.0}, "--hfov is 0"),
        ({"telemetry": ("srt", "")}, "empty entry"),
        ({"ground_height": 1.0, "dem": "dem.tif"}, "both given"),
    ],
)
def test_options_that_do_not_fit(wrong, words):
    with pytest.raises(ConfigError, match=words):
        TelemetryOptions(**wrong)


def test_coarse_positions_are_said_and_carried_by_their_poses(tmp_path):
    track = opened(tmp_path, rows(1, 2))
    assert track.poses[0].position_step_m == pytest.approx(11.1, abs=0.1)
    assert "positions are written in steps of 11 m" in track.assumptions
    # With three decimals the next step is 111 m away and no jump.
    text = srt([f"GPS(8.{one:03d},47.123,12) BAROMETER:1" for one in (1, 1, 2, 3, 3)], step_s=0.1)
    assert len(opened(tmp_path, text).poses) == 5
