"""A selection of frames is the whole run's frames, filtered: with number, time and pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_ema.errors import SourceError
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources import image_sequence
from yolo_ema.media.sources.frame_selection import FrameSelection
from yolo_ema.media.sources.image_sequence import as_sequences
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source import UnreadableSource
from yolo_ema.media.sources.source_reader import SourceReader
from yolo_ema.media.sources.video_cuts import cut_video, span_from

RATE = Fraction(10)
KINDS = {
    "b-frames": ("clip.mp4", "libx264", {"bf": "3"}),
    "open groups": ("clip.mkv", "libx264", {"bf": "2", "x264-params": "open-gop=1"}),
    "no seeking": ("clip.ts", "libx264", {"bf": "2"}),
    "one group": ("clip.avi", "mpeg4", {"g": "600"}),
    "late": ("clip.mov", "libx264", {"bf": "2"}),
}


def record(path: Path, codec: str, options: dict[str, str], start: int) -> Path:
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = 7
        for number in range(50):
            image = np.full((48, 64, 3), number * 5 % 256, np.uint8)
            image[::3] = random.integers(0, 256, image[::3].shape)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = start + number, 1 / RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Frame]]]:
    folder = tmp_path_factory.mktemp("clips")
    found = {}
    for kind, (name, codec, options) in KINDS.items():
        path = record(folder / name, codec, options, start=13 if kind == "late" else 0)
        found[kind] = path, frames_of([str(path)], FrameSelection())
        assert len(found[kind][1]) == 50
    return found


def frames_of(names: list[str], selection: FrameSelection) -> list[Frame]:
    with SourceReader(open_sources(names), selection=selection) as reader:
        events = list(reader)
    problems = [event.problem for event in events if event.problem]
    if problems:
        raise SourceError("; ".join(problems))
    return [event.frame for event in events if event.frame is not None]


def alike(one: list[Frame], other: list[Frame]) -> bool:
    return [(frame.index, frame.time_s) for frame in one] == [
        (frame.index, frame.time_s) for frame in other
    ] and all(np.array_equal(a.image_bgr, b.image_bgr) for a, b in zip(one, other, strict=True))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    stride=st.integers(1, 12),
    start=st.one_of(st.floats(0, 5.2), st.integers(0, 50).map(lambda number: number / 10)),
    length=st.one_of(st.just(math.inf), st.floats(0.05, 5)),
)
def test_the_frames_are_those_of_the_whole_run(
    clips: dict[str, tuple[Path, list[Frame]]],
    kind: str,
    stride: int,
    start: float,
    length: float,
) -> None:
    path, whole = clips[kind]
    end = start + length
    expected = [
        frame
        for frame in whole
        if round(start, 6) <= round(frame.time_s, 6) < round(end, 6) and frame.index % stride == 0
    ]
    selection = FrameSelection(stride, start, end)
    if expected:
        assert alike(frames_of([str(path)], selection), expected)
    else:
        with pytest.raises(SourceError, match="has no frame from"):
            frames_of([str(path)], selection)


def test_reading_begins_at_a_key_frame(clips: dict[str, tuple[Path, list[Frame]]]) -> None:
    path, whole = clips["b-frames"]
    span = span_from(path, 4.0)
    assert span is not None
    assert 2.5 < span.start_s <= 4.0
    assert whole[span.first_frame].time_s == span.start_s
    starts = [part.start_s for part in cut_video(path, 0.05).spans]
    assert span.start_s == max(one for one in starts if one <= 4.0)
    assert span_from(path, 0.05) is None  # the first key frame: read from the beginning
    assert span_from(clips["no seeking"][0], 4.0) is None
    assert span_from(path.with_name("missing.mp4"), 4.0) is None


def test_rate_and_count_are_those_of_the_selection(
    clips: dict[str, tuple[Path, list[Frame]]],
) -> None:
    path, _ = clips["b-frames"]
    reader = FrameSelection(5, 1.0, 3.0).open(open_sources([str(path)])[0])
    assert reader.frame_rate == 2
    assert reader.frame_count == 4
    assert FrameSelection(5, 1.1, 2.0).open(open_sources([str(path)])[0]).frame_count == 1
    assert len(list(reader)) == 4


def test_a_folder_is_put_in_order_once(tmp_path: Path, monkeypatch) -> None:
    """Not once for each of its images, which took minutes for thousands."""
    for number in range(20):
        (tmp_path / f"{number}.png").touch()
    asked: list[str] = []
    natural_order = image_sequence.natural_order
    monkeypatch.setattr(
        image_sequence, "natural_order", lambda name: asked.append(name) or natural_order(name)
    )
    images = open_sources([str(tmp_path)])
    asked.clear()
    [sequence] = as_sequences(images * 2, Fraction(30))
    assert len(asked) == 20
    assert [image.path.name for image in sequence.images] == [f"{n}.png" for n in range(20)]


def test_images_are_taken_and_named(tmp_path: Path) -> None:
    import cv2

    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    selection = FrameSelection(2, 1.0)
    images = open_sources([str(tmp_path)])
    assert len(frames_of([str(tmp_path)], selection)) == 6
    assert selection.left_aside(images).startswith("6 images are taken whatever")
    [sequence] = as_sequences(images, Fraction(2))
    with pytest.raises(SourceError, match=r"no frame from 4 s; the last one read is at 2\.50 s"):
        list(FrameSelection(1, 4.0).open(sequence))
    assert [frame.index for frame in selection.open(sequence)] == [2, 4]
    assert selection.left_aside([sequence]) == ""
    live = open_sources(["rtsp://10.0.0.7/live"])
    assert "rtsp://10.0.0.7/live" in selection.left_aside(live)
    assert FrameSelection(2).left_aside(live) == ""
    assert FrameSelection(2).left_aside([UnreadableSource("missing.mp4", "no such file")]) == ""


def test_parts_of_a_video_may_be_empty(clips: dict[str, tuple[Path, list[Frame]]]) -> None:
    path, whole = clips["b-frames"]
    [source] = open_sources([str(path)])
    selection = FrameSelection(3, 2.0, 4.0)
    parts = [
        frame
        for span in cut_video(path, 1.0).spans
        for frame in selection.open(replace(source, span=span))
    ]
    assert alike(parts, [one for one in whole if selection.takes(one.index, one.time_s)])


@pytest.mark.parametrize("number", [5, 53, 318])
def test_the_time_that_a_result_states_is_that_frames(number: int) -> None:
    """At 24000/1001 frames per second, and on a clock that begins at 1.4 s; rounded in a file of
    results, and as a frame has it in Python.
    """
    for time_s in (number * 1001 / 24000, 1.4 + number / 10 - 1.4):
        for stated in (round(time_s, 6), time_s):
            assert FrameSelection(start_s=stated).takes(number, time_s)
            assert not FrameSelection(end_s=stated).takes(number, time_s)
            assert FrameSelection(end_s=stated).is_over(time_s)
            assert not FrameSelection(end_s=stated + 2e-6).is_over(time_s)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_what_a_cut_off_video_lacks_is_counted_from_any_start(tmp_path: Path, codec: str) -> None:
    whole = record(tmp_path / "whole.mkv", codec, {}, start=0).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: int(len(whole) * 0.7)])
    losses = set()
    for selection in (FrameSelection(), FrameSelection(start_s=1.5), FrameSelection(3, 2.5)):
        with SourceReader(open_sources([str(path)]), selection=selection) as reader:
            [loss] = [event.reader.loss for event in reader if event.ended and event.reader]
        losses.add(loss)
    assert len(losses) == 1
    assert "of the 50 frames that the file states are missing" in losses.pop()
    early = FrameSelection(end_s=1.0).open(open_sources([str(path)])[0])
    assert (len(list(early)), early.loss) == (10, "")


def test_images_of_a_sequence_that_are_damaged_count_where_they_are_taken(tmp_path: Path) -> None:
    import cv2

    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "2.png").write_bytes(b"no image")
    [sequence] = as_sequences(open_sources([str(tmp_path)]), Fraction(2))
    reader = iter(FrameSelection(end_s=2.0).open(sequence))
    assert [next(reader).index for _ in range(3)] == [0, 1, 3]
    with pytest.raises(SourceError, match="1 of 4 images of"):
        next(reader)
    assert [frame.index for frame in FrameSelection(3, 1.5).open(sequence)] == [3, 6]


def with_damaged_key_frame(path: Path, after_s: float) -> float:
    """Zero the first key frame from a time on, its first bytes excepted, and return its time."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        time_s, payload = next(
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(stream)
            if packet.size and packet.is_keyframe and packet.pts * packet.time_base >= after_s
        )
    content = bytearray(path.read_bytes())
    start, size = content.index(payload), len(payload)
    content[start + 5 : start + size] = bytes(size - 5)
    path.write_bytes(content)
    return time_s


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_damaged_key_frame_costs_what_refers_to_it_and_no_more(
    tmp_path: Path, suffix: str
) -> None:
    path = record(tmp_path / f"clip{suffix}", "libx264", {"bf": "0"}, start=0)
    key_s = with_damaged_key_frame(path, 2.0)
    [source] = open_sources([str(path)])
    whole = list(source.open())
    assert len(whole) < 50
    from_behind = list(FrameSelection(start_s=key_s + 0.2).open(source))
    lasting = [frame for frame in whole if frame.time_s >= key_s + 0.2]
    assert [frame.time_s for frame in from_behind] == [frame.time_s for frame in lasting]
    parts, losses = {}, {}
    for span in cut_video(path, 1.0).spans:
        reader = FrameSelection().open(replace(source, span=span))
        parts[span.start_s], losses[span.start_s] = list(reader), reader.loss
    assert [start for start, loss in losses.items() if loss] == [key_s]
    assert [frame.time_s for frames in parts.values() for frame in frames] == [
        frame.time_s for frame in whole
    ]
