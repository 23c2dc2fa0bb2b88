"""Parts of a video, read apart, are the video: each frame once, with number, time and pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.stored_source import StoredSource
from yolo_ema.media.sources.video_cuts import VideoSpan, cut_video

WH = (64, 48)


def record(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 60,
    rate: Fraction = Fraction(10),
    gop: int = 7,
    start: int = 0,
    **options: str,
) -> Path:
    """Write a video whose frames differ from each other everywhere."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.gop_size = *WH, gop
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            image = np.full((*WH[::-1], 3), number * 4 % 256, np.uint8)
            image[::3] = random.integers(0, 256, image[::3].shape)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = start + number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path, span: VideoSpan | None = None) -> tuple[list[Frame], str]:
    reader = StoredSource(path, span=span).open()
    return list(reader), reader.loss


CASES = {
    "b-frames": ("clip.mp4", "libx264", {"bf": "3"}),
    "open groups": ("clip.mp4", "libx264", {"bf": "3", "x264-params": "open-gop=1"}),
    "hevc, open groups": ("clip.mp4", "libx265", {"x265-params": "open-gop=1:log-level=none"}),
    "matroska": ("clip.mkv", "libx264", {"bf": "2"}),
    "matroska, open groups": ("clip.mkv", "libx264", {"bf": "2", "x264-params": "open-gop=1"}),
    "ntsc": ("clip.mp4", "libx264", {"rate": Fraction(30000, 1001)}),
    "every frame a key frame": ("clip.mov", "mjpeg", {}),
    "mpeg-4": ("clip.mp4", "mpeg4", {}),
    "vp9": ("clip.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "starts late": ("clip.mp4", "libx264", {"bf": "2", "start": 13}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("segment_s", [0.3, 1.2])
def test_the_parts_add_up_to_the_whole(tmp_path: Path, case: str, segment_s: float) -> None:
    name, codec, options = CASES[case]
    path = record(tmp_path / name, codec, **options)
    spans, reason = cut_video(path, segment_s)
    assert not reason
    assert len(spans) > 1
    whole, loss = read(path)
    assert len(whole) == 60
    assert not loss
    parts = [read(path, span) for span in spans]
    assert not any(loss for _, loss in parts)
    joined = [frame for frames, _ in parts for frame in frames]
    assert [(one.index, one.time_s) for one in joined] == [(one.index, one.time_s) for one in whole]
    assert all(
        np.array_equal(one.image_bgr, other.image_bgr)
        for one, other in zip(joined, whole, strict=True)
    )
    for (frames, _), span in zip(parts, spans, strict=True):
        assert frames[0].index == span.first_frame


def test_cuts_are_at_the_next_key_frame(tmp_path: Path) -> None:
    path = record(tmp_path / "clip.mp4", gop=5, sc_threshold="0")
    starts = [span.start_s for span in cut_video(path, 0.7).spans]
    # Key frames every 0.5 s; the first at or after 0.7, 1.4, 2.1, …
    assert starts == pytest.approx([0, 1, 1.5, 2.5, 3, 3.5, 4.5, 5, 6][: len(starts)])
    assert len(starts) == 8


def test_a_short_video_stays_whole(tmp_path: Path) -> None:
    assert cut_video(record(tmp_path / "clip.mp4"), 6.0) == ((), "")


def test_what_cannot_be_cut_says_why(tmp_path: Path) -> None:
    joined = record(tmp_path / "clip.ts")
    assert cut_video(joined, 1.0).reason.startswith("mpegts")
    interlaced = record(tmp_path / "tff.mp4", **{"x264-params": "tff=1"})
    assert "interlaced" in cut_video(interlaced, 1.0).reason
    whole = record(tmp_path / "cut.mkv").read_bytes()
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(whole[: len(whole) // 2])
    assert cut_video(damaged, 1.0).reason == "damage"
    nothing = tmp_path / "nothing.mp4"
    nothing.write_bytes(b"no video")
    assert cut_video(nothing, 1.0) == ((), "")


def test_another_file_with_the_same_name_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "clip.mp4")
    span = cut_video(path, 2.0).spans[1]
    record(path, rate=Fraction(17))
    with pytest.raises(SourceError, match="it has changed since"):
        read(path, span)


def test_a_video_is_not_read_any_further_than_asked(tmp_path: Path) -> None:
    path = record(tmp_path / "clip.mp4")
    asked = iter([False] * 5 + [True])
    assert not cut_video(path, 1.5, lambda: next(asked)).spans
    assert next(asked, None) is None
    assert cut_video(path, 1.5).spans
