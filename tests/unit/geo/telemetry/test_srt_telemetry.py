from __future__ import annotations

from pathlib import Path

import pytest
from telemetry_files import SRT_WRITERS, Flown, srt, write_video

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.telemetry.dialects import (
    SRT_DIALECTS,
    SrtDialect,
    focal_length_mm,
    zoom_factor,
)
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.geo.telemetry.reading import Field
from yolo_ema.geo.telemetry.srt import read_srt
from yolo_ema.options.telemetry import TelemetryOptions

FLIGHT = [
    Flown(47.123456 + place * 1e-5, 108.765432, 60.1 + place, 561.2 + place, 92.4, -41.0, 0.5)
    for place in range(4)
]
QUANTITIES = {
    "height": "height_takeoff_m",
    "altitude": "altitude_m",
    "yaw": "yaw_deg",
    "pitch": "pitch_deg",
    "roll": "roll_deg",
}


def opened(path: Path, **options) -> PoseTrack | tuple[NoPose, ...]:
    return open_telemetry("clip.mp4", TelemetryOptions(telemetry=(str(path),), **options))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clip.srt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("dialect", SRT_WRITERS)
def test_every_dialect_gives_back_what_was_written(dialect, tmp_path):
    write, told = SRT_WRITERS[dialect]
    track = opened(written(tmp_path, srt(map(write, FLIGHT))))
    assert isinstance(track, PoseTrack), track
    assert [pose.time_s for pose in track.poses] == [0, 0.5, 1, 1.5]
    for pose, flown in zip(track.poses, FLIGHT, strict=True):
        assert pose.latitude_deg == pytest.approx(flown.latitude, abs=1e-9)
        assert pose.longitude_deg == pytest.approx(flown.longitude, abs=1e-9)
        for name, attribute in QUANTITIES.items():
            expected = getattr(flown, name) if name in told else 0.0 if name == "roll" else None
            assert getattr(pose, attribute) == pytest.approx(expected), name
    assert ("yaw" in track.missing) == ("yaw" not in told)
    assert any("roll" in one for one in track.assumptions) == ("roll" not in told)


def test_the_order_of_latitude_and_longitude_is_said_and_follows_large_values(tmp_path):
    usual = opened(written(tmp_path, srt(["GPS(8.7654,47.1234,18) BAROMETER:12.3M"] * 2)))
    assert (usual.poses[0].latitude_deg, usual.poses[0].longitude_deg) == (47.1234, 8.7654)
    assert any("longitude, latitude, as these models usually" in one for one in usual.assumptions)
    assert usual.poses[0].height_takeoff_m == 12.3
    assert usual.poses[0].altitude_m is None  # 18 satellites
    turned = opened(
        written(tmp_path, srt(["GPS(39.9,116.4,18) BAROMETER:9", "GPS(39.9,116.4,18) BAROMETER:9"]))
    )
    assert (turned.poses[0].latitude_deg, turned.poses[0].longitude_deg) == (39.9, 116.4)
    assert any("by values beyond 90 degrees" in one for one in turned.assumptions)
    (reason,) = opened(written(tmp_path, srt(["GPS(139.9,116.4,18) BAROMETER:9"] * 2)))
    assert reason.reason == "unreadable"


def test_a_new_drone_is_a_row_of_a_table(tmp_path, monkeypatch):
    """Other names, another order, other units and another zero of the pitch, without code."""
    row = SrtDialect(
        "made up",
        frozenset({"pos()"}),
        (
            Field("pos()", "longitude_deg", scale=1e-7, at=0),
            Field("pos()", "latitude_deg", scale=1e-7, at=1),
            Field("up", "height_takeoff_m", scale=0.01),
            Field("tilt", "pitch_deg", scale=-1, offset=-90),
        ),
    )
    monkeypatch.setattr("yolo_ema.geo.telemetry.srt.SRT_DIALECTS", (*SRT_DIALECTS, row))
    track = opened(written(tmp_path, srt(["POS(87654321, 471234567) UP:6010, [tilt : -30]"] * 2)))
    pose = track.poses[0]
    assert (pose.latitude_deg, pose.longitude_deg) == pytest.approx((47.1234567, 8.7654321))
    assert (pose.height_takeoff_m, pose.pitch_deg) == pytest.approx((60.1, -60))
    assert pose.position_step_m == 0
    assert "subtitles read as made up" in track.assumptions


def test_feet_are_metres(tmp_path):
    track = opened(written(tmp_path, srt(["GPS (8.5, 47.5, 17), D 2.21m, H 100.0ft, V.S 0"] * 2)))
    assert track.poses[0].height_takeoff_m == pytest.approx(30.48)


@pytest.mark.parametrize(
    ("text", "millimetres"),
    [("24.00", 24), ("240", 24), ("2400", 24), ("24", 24), ("162.00", 162), ("480", 48)],
)
def test_focal_lengths_plain_in_tenths_and_in_hundredths(text, millimetres):
    assert focal_length_mm(text) == pytest.approx(millimetres)


def test_zoom_plain_and_in_ten_thousandths():
    assert (zoom_factor("10000"), zoom_factor("20000"), zoom_factor("1.50")) == (1, 2, 1.5)


def test_digital_zoom_narrows_the_view(tmp_path):
    text = "[focal_len : 240] [dzoom_ratio: {}, delta:0],[latitude: 47.1] [longitude: 8.7]"
    track = opened(written(tmp_path, srt([text.format(10000), text.format(20000)])))
    # 24 mm by the diagonal of 4:3 is 71.6 degrees, not 73.7; half of its tangent is 39.6.
    assert [pose.hfov_deg for pose in track.poses] == pytest.approx([71.59, 39.66], abs=0.01)
    assert any("focal_len 240 is 24 mm" in one for one in track.assumptions)
    wide = opened(track_path := tmp_path / "clip.srt", camera="mavic2-pro")
    assert wide.poses[0].hfov_deg == pytest.approx(73.74, abs=0.01), track_path  # 3:2
    given = opened(tmp_path / "clip.srt", hfov=50.0)
    assert given.poses[1].hfov_deg == 50


def test_no_fix_and_no_number_are_named_and_no_pose_is_made_of_them(tmp_path):
    good = "GPS(8.7654,47.1234,12) BAROMETER:{}.0"
    texts = [good.format(place) for place in range(6)]
    texts[2:5] = ["GPS(0.0,0.0,0) BAROMETER:1.0", "GPS(N/A,N/A,3) BAROMETER:1.0", "BAROMETER:1.0"]
    track = opened(written(tmp_path, srt(texts, step_s=1)))
    assert [pose.height_takeoff_m for pose in track.poses] == [0, 1, 5]
    assert track.at(3).reason == "no_fix"
    assert isinstance(track.at(0.5), Pose)
    assert any(
        "samples left out: 2 (the receiver had no fix), 1" in one for one in track.assumptions
    )


def test_a_file_cut_anywhere_gives_only_whole_values(tmp_path):
    write, _ = SRT_WRITERS["Mavic Mini"]
    text = srt(map(write, FLIGHT))
    for end in range(len(text) - 120, len(text)):
        track = opened(written(tmp_path, text[:end]))
        heights = {pose.height_takeoff_m for pose in track.poses} - {None}
        assert heights <= {flown.height for flown in FLIGHT}, text[:end][-40:]


def test_a_file_without_times_counts_by_its_clock(tmp_path):
    text = "\n\n".join(
        f"{second}\n2017.08.05 14:11:5{second},393,525\n[latitude : -20.2] "
        f"[longtitude : 149.{second}00000]"
        for second in range(3)
    )
    track = opened(written(tmp_path, text))
    assert [pose.time_s for pose in track.poses] == [0]  # the others jump by 10 km
    assert any("no times" in one for one in track.assumptions)


def test_a_mark_of_order_and_windows_line_ends(tmp_path):
    write, _ = SRT_WRITERS["longtitude"]
    path = tmp_path / "clip.srt"
    path.write_bytes(b"\xef\xbb\xbf" + srt(map(write, FLIGHT)).replace("\n", "\r\n").encode())
    assert len(opened(path).poses) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_found"),
        (srt(["[iso : 100] [shutter : 1/240.0]"] * 2), "no_position"),
        ("[latitude: 47.1] [longitude: 8.7]", "no_common_clock"),
        (srt(["GPS(0,0,0) BAROMETER:1"] * 3), "no_fix"),
    ],
)
def test_files_without_poses_say_why(text, reason, tmp_path):
    (found,) = opened(written(tmp_path, text))
    assert found.reason == reason


def test_binary_rubbish_is_an_error(tmp_path):
    path = tmp_path / "x.srt"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(TelemetryError):
        read_srt(path)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mov_text"), ("mkv", "subrip")])
def test_a_subtitle_track_inside_a_video(suffix, codec, tmp_path):
    import av

    if not hasattr(av.container.OutputContainer, "add_mux_stream"):
        pytest.skip("this PyAV cannot write subtitle tracks")
    write, _ = SRT_WRITERS["rel_alt with gimbal"]
    texts = [write(flown).encode() for flown in FLIGHT]
    if codec == "mov_text":
        texts = [len(text).to_bytes(2, "big") + text for text in texts]
    packets = [(place * 0.5, 0.5, text) for place, text in enumerate(texts)]
    video = write_video(tmp_path / f"flight.{suffix}", data=codec, packets=packets)
    track = open_telemetry(video, duration_s=2.0)
    assert isinstance(track, PoseTrack), track
    assert track.source == "subtitles"
    assert [pose.pitch_deg for pose in track.poses] == [-41.0] * 4
    assert track.at(0.75).height_takeoff_m == pytest.approx(61.6)
    assert track.at(1.9).time_s == 1.9  # the last subtitle holds to its end


@pytest.mark.parametrize(
    "piece", ["[a ", "a(", "a.", "a 1", "[" + "a" * 9, "\n", " \n", "<", "1:1:", "0", "\n1\n "]
)
def test_a_file_made_to_take_long_ends(piece, tmp_path):
    text = "GPS(8.7,47.1,18) BAROMETER:12\n" + piece * 30_000 + " " * 30_000 + "9" * 30_000
    track = opened(written(tmp_path, srt([text] * 2)))
    assert isinstance(track, PoseTrack)


BODY = (
    "[latitude: 47.123456] [longitude: -8.765432] [rel_alt: 60.100 abs_alt: 561.200] "
    "[gb_yaw: 92.4 gb_pitch: -41.0 gb_roll: 0.0]"
)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (BODY.replace(".", ","), (47.123456, -8.765432, 60.1, -41)),
        (BODY.upper(), (47.123456, -8.765432, 60.1, -41)),
        (BODY.replace("-", "\u2212"), (47.123456, -8.765432, 60.1, -41)),
        (f'<font size="36">DiffTime : 33ms<br>{BODY}', (47.123456, -8.765432, 60.1, -41)),
        (BODY.replace("-8.765432", "8.765432 W"), (47.123456, -8.765432, 60.1, -41)),
        (BODY.replace("-8.765432", "8.765432E"), (47.123456, 8.765432, 60.1, -41)),
        (
            "[latitude: 47 deg 7' 24.5\" S] [longitude: 8°45'3.0\"E] [rel_alt: 60.1 abs_alt: 9]",
            (-47.1234722, 8.7508333, 60.1, None),
        ),
        (
            "latitude: 47.123456, longitude: -8.765432, rel_alt: 60.1\n",
            (47.123456, -8.765432, 60.1, None),
        ),
    ],
)
def test_numbers_and_places_in_other_writing(tmp_path, body, place):
    pose = opened(written(tmp_path, srt([body] * 3))).at(0)
    assert isinstance(pose, Pose)
    assert (pose.latitude_deg, pose.longitude_deg) == pytest.approx(place[:2], abs=1e-6)
    assert (pose.height_takeoff_m, pose.pitch_deg) == place[2:]


@pytest.mark.parametrize("place", ["47 deg 75' 3\" N", "47.5 deg 7' N", "nan", "47,1,2,3"])
def test_a_place_that_is_none_is_no_place(tmp_path, place):
    text = srt([BODY.replace("47.123456", place)] * 3)
    assert not isinstance(opened(written(tmp_path, text)), PoseTrack)


def test_times_without_milliseconds_or_hours(tmp_path):
    for times in ("00:00:01 --> 00:00:02", "00:01.000 --> 00:02.000", "00:00:01.0-->00:00:02.0"):
        text = f"1\n00:00:00,000 --> 00:00:01,000\n{BODY}\n\n2\n{times}\n{BODY}\n"
        assert [pose.time_s for pose in opened(written(tmp_path, text)).poses] == [0, 1]


@pytest.mark.parametrize(
    ("counted", "factor", "says"),
    [
        (29.97, 1.001, "stretched by 1.0010"),
        (30 * 1.001, 1 / 1.001, "stretched by 0.9990"),
        (30 / 1.003, 1, "the telemetry covers 180.0 s and the video"),
        (30, 1, ""),
    ],
)
def test_subtitles_that_count_another_frame_rate_follow_the_frames(tmp_path, counted, factor, says):
    """Three minutes of ten cues a second: the video's frames take as long as they do."""
    path = written(tmp_path, srt([BODY] * 5400, step_s=1 / 30))
    duration_s = 180 * 30 / (30 / 1.001 if counted == 29.97 else counted)
    track = open_telemetry("a.mp4", TelemetryOptions(telemetry=(str(path),)), duration_s=duration_s)
    assert track.poses[-1].time_s == pytest.approx(5399 / 30 * factor, abs=1e-3)
    said = [one for one in track.assumptions if "stretched" in one or "begin together" in one]
    assert len(said) == bool(says)
    assert says in "".join(said)
