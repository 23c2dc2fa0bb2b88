"""Names for files that belong to one source each."""

from __future__ import annotations

import contextlib
import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks.open_sinks import open_sinks
from yolo_ema.media.sinks.sink import FrameContext
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.output_names import with_output_names
from yolo_ema.media.sources.stored_source import StoredSource

NAMES = {0: "car"}


def stems(*paths: str) -> list[str]:
    return [one.stem for one in with_output_names([StoredSource(Path(path)) for path in paths])]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/f/x.jpg", "/g/y.jpg"], ["x", "y"]),
        (["/f/x.png", "/f/x.jpg", "/f/y.jpg"], ["x_png", "x_jpg", "y"]),
        (["/f/x.jpg", "/g/x.jpg"], ["f_x", "g_x"]),
        (
            ["/a/left/x.jpg", "/b/left/x.jpg", "/b/right/x.jpg"],
            ["a_left_x", "b_left_x", "b_right_x"],
        ),
        (["/f/x.jpg", "/f/x.mp4", "/g/x.mp4"], ["f_x_jpg", "f_x_mp4", "g_x"]),
        (["/f/X.mp4", "/f/x_000012.jpg"], ["X", "x_000012-2"]),  # a frame of the video
        (["/f/x.mp4", "/f/x_12.jpg", "/f/y_000012.jpg"], ["x", "x_12", "y_000012"]),
        (["/f/x.jpg", "/f/X.jpg"], ["x_jpg", "X_jpg-2"]),
        (["/f/x.jpg", "/g/x.jpg", "/h/f_x.jpg"], ["f_x-2", "g_x", "f_x"]),
        (["/x.jpg", "/g/x.jpg"], ["x", "g_x"]),
    ],
)
def test_the_shortest_distinguishing_names(paths, expected):
    assert stems(*paths) == expected


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "a/b", "b", "B"]),
            st.sampled_from(["x", "X", "a_x", "x_jpg", "x-2"]),
        ),
        max_size=12,
    )
)
def test_no_two_are_the_same_in_any_case(parts):
    paths = dict.fromkeys(
        f"/{folder}/{stem}{suffix}"
        for (folder, stem), suffix in zip(parts, itertools.cycle([".jpg", ".mp4"]))
    )
    found = stems(*paths)
    assert len({one.casefold() for one in found}) == len(paths)


def test_streams_whose_addresses_differ_in_punctuation_only_are_numbered():
    assert [
        one.stem for one in open_sources(["rtsp://h/cam/1", "rtsp://h/cam-1", "rtsp://h/2"])
    ] == ["h-cam-1", "h-cam-1-2", "h-2"]


def test_every_output_of_two_videos_of_one_name_stays_apart(tmp_path):
    """Each of these kinds would otherwise write both into one file, or say one name of two
    frames.
    """
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/x.mp4", "b/x.mp4", "b/x.avi"):
        (tmp_path / name).write_bytes(b"")
    sources = open_sources([str(tmp_path / "a"), str(tmp_path / "b")])
    kinds = ("yolo", "visdrone", "coco", "mot", "crops")
    with contextlib.ExitStack() as opened:
        sinks = open_sinks(
            kinds,
            tmp_path / "out",
            names=NAMES,
            visdrone_names=("pedestrian", "people", "bicycle", "car"),
        )
        for sink in sinks:
            opened.callback(sink.close)
        for index, source in itertools.product(range(2), sources):
            frame = Frame(np.zeros((40, 50, 3), np.uint8), source.name, index, index / 10)
            box, one = np.array([[1.0, 2, 30, 20]]), np.array([0])
            found = FrameDetections(frame, box, np.array([0.5]), one, NAMES, np.array([1]))
            for sink in sinks:
                sink.write(found, FrameContext(Fraction(10), source.stem))
    written = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.txt")
    )
    names = ["a_x", "b_x_avi", "b_x_mp4"]
    frames = [f"{name}_{index:06d}" for name in names for index in range(2)]
    assert written == [
        *(f"mot/{name}.txt" for name in names),
        *(f"visdrone/{name}.txt" for name in names),
        "yolo/classes.txt",
        *(f"yolo/labels/{name}.txt" for name in frames),
    ]
    coco = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert sorted(one["file_name"] for one in coco["images"]) == [f"{name}.jpg" for name in frames]
    assert len(list((tmp_path / "out" / "crops").rglob("*.jpg"))) == 6


@pytest.mark.parametrize("letter", ["a", "ж", "😀"])
def test_names_at_the_limit_of_the_file_system_leave_room_for_suffixes(tmp_path, letter):
    """A frame number, a row, an identity and a suffix."""
    size = len(letter.encode())
    stems = [letter * ((251 - index) // size) for index in (0, size, 2 * size)]
    for stem in [*stems, "short"]:
        (tmp_path / f"{stem}.jpg").write_bytes(b"x")
    found = open_sources([str(tmp_path)])
    names = [source.stem for source in found]
    assert len(set(names)) == 4
    assert "short" in names
    for name in names:
        path = tmp_path / f"{name}_000012-003-id123456-12.jpg"
        path.write_bytes(b"y")
        assert name == "short" or name.startswith(letter * 40)


def test_ten_thousand_frames_beside_their_video_are_named_in_one_pass(monkeypatch):
    asked = []
    hashed = StoredSource.__hash__
    monkeypatch.setattr(StoredSource, "__hash__", lambda one: asked.append(1) or hashed(one))
    names = stems("/f/x.mp4", *(f"/f/x_{number:06d}.jpg" for number in range(10_000)))
    assert names[:3] == ["x", "x_000000-2", "x_000001-2"]
    assert len(asked) < 30 * len(names)
