"""Folders of images as the frames of one flight."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.errors import SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.image_sequence import ImageSequence, natural_order
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceReader

RATE = Fraction(20)


def draw(path: Path, grey: int = 0, image_wh: tuple[int, int] = (16, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((image_wh[1], image_wh[0], 3), grey, np.uint8))
    return path


@pytest.fixture
def flights(tmp_path):
    """Two sequences whose names ask for natural order, a video next to one, and a single image."""
    for number in (1, 2, 10):
        draw(tmp_path / "first" / f"frame{number}.png", number)
    for number in (9, 100):
        draw(tmp_path / "second" / f"{number}.jpg", number)
    with VideoWriter(tmp_path / "first" / "film.mp4", frame_rate=RATE, image_wh=(16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    draw(tmp_path / "third" / "alone.png")
    return tmp_path


def test_each_folder_is_a_sequence_in_natural_order(flights):
    found = open_sources([str(flights)], sequence_rate=RATE)
    assert [(one.name, one.is_video) for one in found] == [
        (str(flights / "first" / "film.mp4"), True),
        (str(flights / "first"), True),
        (str(flights / "second"), True),
        (str(flights / "third" / "alone.png"), False),
    ]
    frames = list(found[1].open())
    assert [(frame.source, frame.index, frame.time_s) for frame in frames] == [
        (str(flights / "first"), index, index / 20) for index in range(3)
    ]
    assert [int(frame.image_bgr[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert [found[1].image_of(index).path.name for index in range(3)] == [
        "frame1.png",
        "frame2.png",
        "frame10.png",
    ]
    assert [one.image_of(0).name for one in found[2:]] == [
        str(flights / "second" / "9.jpg"),
        found[3].name,
    ]
    assert found[0].image_of(0) is None


def test_patterns_lists_and_repeated_names_form_one_sequence(flights):
    (flights / "list.txt").write_text("first/frame2.png\nfirst/frame10.png\n")
    words = [
        str(flights / "first" / "*.png"),
        str(flights / "list.txt"),
        str(flights / "first" / "frame1.png"),
    ]
    (only,) = open_sources(words, sequence_rate=RATE)
    assert [only.image_of(index).path.name for index in range(3)] == [
        "frame1.png",
        "frame2.png",
        "frame10.png",
    ]


def test_without_a_rate_every_image_is_its_own_source_in_the_order_of_names(flights):
    names = [Path(one.name).name for one in open_sources([str(flights / "first")])]
    assert names == ["film.mp4", "frame1.png", "frame10.png", "frame2.png"]


def test_a_damaged_image_is_skipped_and_named_at_the_end(flights):
    damaged = flights / "first" / "frame2.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    with SourceReader(
        open_sources(
            [str(flights / "first" / "*.png"), str(flights / "second")], sequence_rate=RATE
        )
    ) as reader:
        events = list(reader)
    assert [
        (event.source.stem, event.frame.index) for event in events if event.frame is not None
    ] == [
        ("first", 0),
        ("first", 2),
        ("second", 0),
        ("second", 1),
    ]
    ends = [event.problem for event in events if event.ended]
    assert "1 of 3 images" in ends[0]
    assert str(damaged) in ends[0]
    assert ends[1] == ""


def unreadable(monkeypatch, ending: str) -> None:
    """Let a file be one that may not be read."""
    real = Path.read_bytes

    def refuses(path: Path) -> bytes:
        if str(path).endswith(ending):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuses)


def test_an_image_that_may_not_be_read_is_skipped_and_named_at_the_end(flights, monkeypatch):
    unreadable(monkeypatch, "frame2.png")
    (sequence,) = open_sources([str(flights / "first" / "*.png")], sequence_rate=RATE)
    frames = []
    with pytest.raises(SourceError, match=r"1 of 3 .*frame2\.png cannot be read: permission den"):
        frames.extend(iter(sequence.open()))
    with SourceReader([sequence]) as reader:
        events = list(reader)
    assert [event.frame.index for event in events if event.frame] == [0, 2]


def test_a_sequence_states_its_length_rate_and_the_size_of_what_comes_next(flights):
    draw(flights / "first" / "frame2.png", image_wh=(32, 12))
    (sequence,) = open_sources([str(flights / "first" / "*.png")], sequence_rate=RATE)
    reader = sequence.open()
    assert (reader.frame_count, reader.frame_rate) == (3, RATE)
    sizes = []
    frames = iter(reader)
    for _ in range(3):
        sizes.append((reader.frame_bytes, next(frames).image_bgr.nbytes))
    assert sizes == [(576, 576), (1152, 1152), (576, 576)]
    assert reader.frame_bytes == 0
    reader.close()
    assert list(sequence.open())  # another opening is not closed with it


def test_a_sequence_without_a_readable_image_fails(tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no image")
    (sequence,) = open_sources([str(tmp_path)], sequence_rate=RATE)
    with pytest.raises(SourceError, match="2 of 2 images"):
        list(sequence.open())


def test_the_working_folder_has_a_name(tmp_path, monkeypatch):
    for name in ("1.png", "2.png"):
        draw(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (sequence,) = open_sources(["*.png"], sequence_rate=RATE)
    assert isinstance(sequence, ImageSequence)
    assert sequence.stem == tmp_path.name


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True))
def test_numbers_in_names_sort_by_value(numbers):
    names = sorted((f"img_{number}.jpg" for number in numbers), key=natural_order)
    assert names == [f"img_{number}.jpg" for number in sorted(numbers)]


def test_digits_of_other_scripts_are_words_in_names():
    names = ["1\u06632.jpg", "10a.jpg", "\u0663.jpg", "1a2.jpg"]
    assert sorted(names, key=natural_order) == [names[3], names[0], names[1], names[2]]
