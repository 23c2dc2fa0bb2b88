"""Videos that play wherever their writing ends, at the times and in the colours they were given."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.media.sinks import video_writer
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.video_reader import VideoReader

RATES = [Fraction(10), Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60)]


def noise(index: int, image_wh=(160, 120)) -> np.ndarray:
    return np.random.default_rng(index).integers(
        0, 255, (image_wh[1], image_wh[0], 3), dtype=np.uint8
    )


def played(path) -> int:
    try:
        return len(list(VideoReader(path)))
    except SourceError:
        return 0


def test_it_plays_after_a_kill_between_any_two_writes(tmp_path, monkeypatch):
    """The file is built again from the first writes to the disk, for each number of them: what a
    kill at that moment leaves.
    """
    log: list[tuple[int, bytes, int]] = []
    given = 0
    original = video_writer._Disk.write

    def write(self, content):
        log.append((self.tell(), bytes(content), given))
        return original(self, content)

    monkeypatch.setattr(video_writer._Disk, "write", write)
    writer = VideoWriter(tmp_path / "x.mp4", frame_rate=Fraction(10), image_wh=(160, 120))
    for given in range(1, 31):
        writer.write(noise(given))
    writer.close()
    content, frames = bytearray(), []
    for at, piece, _ in log:
        content[at : at + len(piece)] = piece
        (tmp_path / "cut.mp4").write_bytes(content)
        frames.append(played(tmp_path / "cut.mp4"))
    held_back = [
        frames_given - 1 - count for count, (_, _, frames_given) in zip(frames, log, strict=True)
    ]
    assert len(log) > 30
    assert max(held_back) <= 6  # frames: the encoder's threads
    assert frames == sorted(frames)  # completing the file never spoils what played
    assert frames[-1] == 30
    assert bytes(content) == (tmp_path / "x.mp4").read_bytes()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("rounded_to", [None, 3], ids=["exact", "milliseconds"])
def test_the_rate_survives_rounded_times(tmp_path, rate, rounded_to):
    with VideoWriter(tmp_path / "x.mp4", frame_rate=rate, image_wh=(64, 48)) as writer:
        for index in range(40):
            writer.write(
                noise(index, (64, 48)),
                float(index / rate) if rounded_to is None else round(float(index / rate), 3),
            )
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert container.streams.video[0].average_rate == rate
        assert container.duration / 1e6 == pytest.approx(float(40 / rate), abs=2e-3)


def test_irregular_times_are_kept_and_backward_ones_corrected(tmp_path):
    times, expected = [0, 0.1, 0.5, 0.52, 3.0, 1.0, 1.1], [0, 0.1, 0.5, 0.52, 3.0, 3.1, 3.2]
    with VideoWriter(
        tmp_path / "x.mp4", frame_rate=Fraction(10), image_wh=(64, 48), is_live=True
    ) as writer:
        for index, time_s in enumerate(times):
            writer.write(noise(index, (64, 48)), time_s)
    assert [time_s for _, time_s in VideoReader(tmp_path / "x.mp4")] == pytest.approx(
        expected, abs=2e-3
    )


def test_bursts_play_at_their_real_speed(tmp_path):
    """Ten seconds of a stream at 25 per second that stalls for half a second and then brings what
    it held back, all but at once.
    """
    times = [
        second + start + step * index
        for second in range(10)
        for start, step in ((0.0, 0.04), (0.9, 2e-6))
        for index in range(12)
    ]
    with VideoWriter(
        tmp_path / "x.mp4", frame_rate=Fraction(25), image_wh=(64, 48), is_live=True
    ) as writer:
        for index, time_s in enumerate(times):
            writer.write(noise(index, (64, 48)), time_s)
        growing = tmp_path / "killed.mp4"
        growing.write_bytes(writer.path.read_bytes())
    for path, expected in ((writer.path, times), (growing, times[:-1])):
        played = np.array([time_s for _, time_s in VideoReader(path)])
        assert len(played) >= len(expected), path
        assert (np.diff(played) > 0).all(), "no two frames at one time"
        assert np.abs(played - times[: len(played)]).max() <= 2e-3, "no delay adds up"


def test_a_live_video_holds_no_frame_back(tmp_path):
    writer = VideoWriter(
        tmp_path / "x.mp4", frame_rate=Fraction(1), image_wh=(160, 120), is_live=True
    )
    for index in range(5):
        writer.write(noise(index), float(index))
    assert played(tmp_path / "x.mp4") >= 4
    writer.close()


def test_colours_survive_and_are_declared(tmp_path):
    colours = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 136, 255), (221, 255, 0)]
    image = np.repeat(np.array([colours], np.uint8), 64, axis=1).repeat(128, axis=0)
    with VideoWriter(tmp_path / "x.mp4", frame_rate=Fraction(10), image_wh=(320, 128)) as writer:
        writer.write(image)
    shown, _ = next(iter(VideoReader(tmp_path / "x.mp4")))
    assert np.abs(shown[64, 32::64].astype(int) - colours).max() <= 8
    with av.open(str(tmp_path / "x.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace in (5, 6), context.color_range, context.color_primaries) == (
            True,
            1,
            1,
        )


def test_no_file_is_replaced(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"the user's")
    with VideoWriter(tmp_path / "x.mp4", frame_rate=Fraction(10), image_wh=(64, 48)) as writer:
        writer.write(noise(0, (64, 48)))
    assert writer.path == tmp_path / "x-2.mp4"
    assert (tmp_path / "x.mp4").read_bytes() == b"the user's"


@pytest.mark.parametrize("rate", [Fraction(30, 1_000_000), Fraction(1, 3600), Fraction(1, 3)])
def test_frames_may_be_hours_apart(tmp_path, rate):
    """Every millionth frame of a video, or one an hour."""
    gap_s = float(1 / rate)
    with VideoWriter(tmp_path / "rare.mp4", frame_rate=rate, image_wh=(32, 32)) as writer:
        for number in range(3):
            writer.write(np.full((32, 32, 3), 90 * number, np.uint8), number * gap_s)
    times = [time_s for _, time_s in VideoReader(tmp_path / "rare.mp4")]
    assert times == pytest.approx([0, gap_s, 2 * gap_s], abs=0.001)
