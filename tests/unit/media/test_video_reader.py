from __future__ import annotations

import signal
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.video_reader import VideoReader, stated_rate


def _frame(index: int, image_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((image_wh[1], image_wh[0], 3), (index * 5) % 250, np.uint8)


def _write(path, frames=30, rate=Fraction(30000, 1001), image_wh=(64, 48)):
    with VideoWriter(path, frame_rate=rate, image_wh=image_wh) as writer:
        for index in range(frames):
            writer.write(_frame(index, image_wh))
    return path


def test_frames_rate_size_and_times_survive(tmp_path):
    reader = VideoReader(_write(tmp_path / "x.mp4"))
    assert (reader.frame_rate, reader.frame_count) == (Fraction(30000, 1001), 30)
    frames = list(reader)
    assert len(frames) == 30
    for index, (image, time_s) in enumerate(frames):
        assert image.shape == (48, 64, 3)
        assert abs(float(image.mean()) - index * 5) < 4
        assert time_s == pytest.approx(index * 1001 / 30000, abs=1e-4)


def test_the_codec_is_h264_that_browsers_play(tmp_path):
    with av.open(str(_write(tmp_path / "x.mp4"))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_are_padded_by_one_pixel(tmp_path):
    image, _ = next(iter(VideoReader(_write(tmp_path / "x.mp4", frames=2, image_wh=(63, 47)))))
    assert image.shape == (48, 64, 3)


def test_a_rotated_video_is_turned_upright(tmp_path):
    _write(tmp_path / "x.mp4", frames=3)
    content = (tmp_path / "x.mp4").read_bytes()
    # The track header's matrix of a video turned by a quarter, as phones write it: a, b, c, d = 0,
    # 1, -1, 0 in 16.16 fixed point.
    upright = b"\x00\x01\x00\x00" + b"\0" * 12 + b"\x00\x01\x00\x00"
    turned = b"\0" * 4 + b"\x00\x01\x00\x00" + b"\0" * 4 + b"\xff\xff\x00\x00" + b"\0" * 4
    head, *tracks = content.split(b"tkhd")
    assert all(upright in track for track in tracks)
    (tmp_path / "turned.mp4").write_bytes(
        b"tkhd".join([head, *(track.replace(upright, turned, 1) for track in tracks)])
    )
    image, _ = next(iter(VideoReader(tmp_path / "turned.mp4")))
    assert image.shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"no video at all" * 100, "cannot be opened")]
)
def test_a_file_that_is_not_a_video_is_named_as_such(tmp_path, content, reason):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        VideoReader(tmp_path / "x.mp4")


def test_a_missing_video(tmp_path):
    with pytest.raises(SourceError, match="no video at"):
        VideoReader(tmp_path / "x.mp4")


def test_damage_in_the_middle_loses_only_its_frames(tmp_path):
    path = _write(tmp_path / "x.mp4", frames=120, rate=Fraction(10))
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(content)
    assert len(list(VideoReader(path))) > 60


@pytest.mark.slow
def test_a_killed_writer_leaves_a_file_that_plays_to_within_a_second(tmp_path):
    script = (
        "import sys, os, signal, numpy as np; from fractions import Fraction; from pathlib import "
        "Path\n"
        "from yolo_ema.media.sinks.video_writer import VideoWriter\n"
        "writer = VideoWriter(Path(sys.argv[1]), frame_rate=Fraction(10), image_wh=(320, 240))\n"
        "noise = np.random.default_rng(0)\n"
        "for index in range(200): writer.write(noise.integers(0, 255, (240, 320, 3), "
        "dtype=np.uint8))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.mp4")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x.mp4").stat().st_size > 0
    frames = len(list(VideoReader(tmp_path / "x.mp4")))
    assert (
        frames >= 200 - 15
    )  # a fragment is a second, ten frames; the encoder's threads hold a few back


def test_clock_ticks_are_not_a_frame_rate():
    """RTSP servers that do not state a frame rate make FFmpeg guess the 90,000 ticks of their
    timestamps.
    """
    stream = SimpleNamespace(average_rate=None, guessed_rate=Fraction(90_000))
    assert stated_rate(stream) is None
    assert stated_rate(
        SimpleNamespace(average_rate=Fraction(90_000), guessed_rate=Fraction(30_000, 1001))
    ) == Fraction(30_000, 1001)
    assert (
        stated_rate(SimpleNamespace(average_rate=Fraction(25), guessed_rate=Fraction(90_000))) == 25
    )
