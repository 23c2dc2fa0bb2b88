"""What a user can name as a source."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from yolo_ema.errors import ConfigError, SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.open_sources import open_sources


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", ["list.txt", "LIST.STREAMS"])
def test_a_list_names_sources_in_its_order(folder, name):
    lines = [
        "# the flight",
        "sub/b.png",
        "",
        "  a.jpg  ",
        "rtsp://u:p@cam/live",
        "0",
        "sub",
        str(folder / "a.jpg"),
    ]
    (folder / name).write_text("\n".join(lines), encoding="utf-8-sig")
    found = open_sources([str(folder / name)])
    assert [one.name for one in found] == [
        str(folder / "sub/b.png"),
        str(folder / "a.jpg"),
        "rtsp://cam/live",
        "camera 0",
    ]


def test_what_is_wrong_in_a_list_is_named_with_its_line(folder):
    (folder / "list.txt").write_text("a.jpg\nc.jpg\n")
    with pytest.raises(
        SourceError,
        match=r"list\.txt, line 2: no file or folder at .*c\.jpg; did you mean 'a\.jpg'",
    ):
        open_sources([str(folder / "list.txt")])
    (folder / "list.txt").write_text("rtsp://u:geheim@cam:port/x\n")
    with pytest.raises(SourceError, match=r"line 1: the rtsp:// address cannot be used") as caught:
        open_sources([str(folder / "list.txt")])
    assert "geheim" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"# nothing\n\n", "names no source"), (b"\xff\xfe\x00x", "not UTF-8")]
)
def test_a_list_without_sources_is_an_error(folder, content, reason):
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        open_sources([str(folder / "list.txt")])


def test_a_list_in_a_list_is_refused(folder):
    (folder / "inner.txt").write_text("a.jpg\n")
    (folder / "outer.txt").write_text("inner.txt\n")
    with pytest.raises(SourceError, match=r"outer\.txt, line 1: .*neither an image nor a video"):
        open_sources([str(folder / "outer.txt")])


def test_files_cameras_and_addresses_go_together(folder):
    found = open_sources([str(folder), "1", "http://cam/video.mjpg", str(folder / "a.jpg"), "1"])
    assert [one.is_live for one in found] == [False, False, True, True]


def test_names_with_odd_signs_are_files_if_they_exist(folder):
    (folder / "sub/b.png").rename(folder / "50% [x] #1 ä.png")
    assert [one.stem for one in open_sources([str(folder / "50% [x] #1 ä.png")])] == [
        "50% [x] #1 ä"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"open_timeout_s": 0},
        {"read_timeout_s": -1},
        {"open_tries": 0},
        {"give_up_after_s": 0},
        {"rtsp_transport": "tpc"},
        {"stale_after_s": float("nan")},
    ],
)
def test_impossible_patience_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NetworkOptions(**wrong)


@pytest.fixture
def mixed_folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    with VideoWriter(tmp_path / "v.mp4", frame_rate=Fraction(10), image_wh=(16, 16)) as writer:
        for _ in range(3):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "notes.md").write_text("x")
    return tmp_path


def test_a_folder_gives_its_images_and_videos_sorted(mixed_folder):
    assert [one.path.name for one in open_sources([str(mixed_folder)])] == [
        "a.PNG",
        "b.jpg",
        "c.jpg",
        "v.mp4",
    ]


def test_patterns_and_repeated_names(mixed_folder):
    found = open_sources(
        [str(mixed_folder / "*.jpg"), str(mixed_folder / "b.jpg"), str(mixed_folder / "**/c.*")]
    )
    assert [one.path.name for one in found] == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "no file or folder"),
        ("b.jgp", r"did you mean 'b\.jpg'"),
        ("*.gif", "matches no image"),
        ("notes.md", "neither"),
    ],
)
def test_what_is_not_there_is_named(mixed_folder, name, reason):
    with pytest.raises(SourceError, match=reason):
        open_sources([str(mixed_folder / name)])


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="holds no image"):
        open_sources([str(tmp_path)])


def test_frames_carry_source_index_and_time(mixed_folder):
    image, video = open_sources([str(mixed_folder / "b.jpg"), str(mixed_folder / "v.mp4")])
    assert [(frame.index, frame.time_s) for frame in image.open()] == [(0, 0.0)]
    assert [(frame.index, round(frame.time_s, 3)) for frame in video.open()] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
    ]
    assert next(iter(video.open())).source == str(mixed_folder / "v.mp4")
