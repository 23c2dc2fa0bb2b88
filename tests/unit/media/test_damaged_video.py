"""Video files as they come from crashed recorders, other programs and attackers."""

from __future__ import annotations

import re
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import misbehaving_servers as servers
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceReader
from yolo_ema.media.sources.video_reader import VideoReader


def record(
    path: Path,
    frames: int = 60,
    *,
    times: list[int] | None = None,
    image_wh=(160, 120),
    codec="libx264",
    **options,
) -> Path:
    """Write numbered frames at 10 per second, or at ``times`` in milliseconds."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = image_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.gop_size = 5
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(servers.numbered(number, image_wh), format="bgr24")
            frame.pts, frame.time_base = (
                (times[number] if times else number * 100),
                Fraction(1, 1000),
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path) -> tuple[list[int], list[float], VideoReader]:
    reader = VideoReader(path)
    frames = list(reader)
    return (
        [servers.number_of(image) for image, _ in frames],
        [time_s for _, time_s in frames],
        reader,
    )


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_plain_mp4_has_no_index_and_says_so(tmp_path, share):
    whole = record(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        SourceError,
        match=r"cut\.mp4 cannot be opened as video: .*; it may be truncated or of another kind",
    ):
        VideoReader(tmp_path / "cut.mp4")


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_truncated_recording_of_other_kinds_plays_to_its_end(tmp_path, suffix):
    whole = record(tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: int(len(whole) * 0.6)])
    numbers, _, _ = read(tmp_path / f"cut{suffix}")
    assert numbers == sorted(set(numbers))
    assert numbers[:20] == list(range(20))
    assert 25 <= len(numbers) < 60


def test_damage_in_the_middle_is_counted_and_the_rest_is_read(tmp_path):
    path = record(tmp_path / "x.mkv")
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 40):
        content[at] ^= 0x5A
    path.write_bytes(content)
    reader = VideoReader(path)
    images = [image for image, _ in reader]
    assert 40 <= len(images) <= 60
    assert reader.damaged_packets >= 1
    assert servers.number_of(images[0]) == 0
    assert servers.number_of(images[-1]) == 59


def test_a_truncated_or_damaged_gif_counts_the_frames_it_loses(tmp_path):
    frames = [servers.numbered(number, (96, 64)) for number in range(6)]
    assert cv2.imwritemulti(str(tmp_path / "x.gif"), frames)
    content = (tmp_path / "x.gif").read_bytes()
    starts = [found.start() for found in re.finditer(rb"!\xf9\x04.{4}\0,", content, re.DOTALL)]
    assert len(starts) == 6

    def lost_of(changed: bytes) -> tuple[int, int, list[str]]:
        (tmp_path / "y.gif").write_bytes(changed)
        reader = VideoReader(tmp_path / "y.gif")
        return len(list(reader)), reader.damaged_packets, reader.notes

    assert lost_of(content) == (6, 0, [])
    assert lost_of(content + b"appended") == (6, 0, [])
    assert lost_of(content[: starts[4] - 20]) == (4, 1, [])
    broken = bytearray(content)
    broken[starts[2] + 18 : starts[3]] = bytes(starts[3] - starts[2] - 18)
    decoded, damaged, _ = lost_of(bytes(broken))
    assert decoded in {2, 3}
    assert damaged == 4  # the third is torn, three more are lost
    assert lost_of(content[: starts[4]])[2] == [
        "the GIF has no end mark: frames after the last one may be missing"
    ]


def test_a_damaged_video_reports_through_its_feed(tmp_path):
    path = record(tmp_path / "x.mkv")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 150] = bytes(150)
    path.write_bytes(content)
    with SourceReader(open_sources([str(path)])) as reader:
        last = list(reader)[-1]
    assert last.ended
    assert last.problem == ""
    assert re.fullmatch(
        r"1 damaged packet was skipped; "
        r"about 1[45] frames were lost in damaged parts of the file",
        last.reader.loss,
    )


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    times = list(np.cumsum([0, *([40, 200, 33, 1500] * 10)]))
    numbers, times_s, _ = read(
        record(tmp_path / "x.mkv", len(times), times=[int(one) for one in times])
    )
    assert numbers == list(range(len(times)))
    assert np.allclose(times_s, np.array(times) / 1000, atol=0.002)


def test_a_recording_cut_out_of_a_longer_one_begins_at_zero(tmp_path):
    _, times_s, _ = read(
        record(tmp_path / "x.mkv", 10, times=[90_000 + 100 * number for number in range(10)])
    )
    assert np.allclose(times_s, np.arange(10) / 10, atol=0.002)


def test_a_stream_without_duration_is_read(tmp_path):
    path = record(tmp_path / "x.mp4")
    with (
        av.open(str(path)) as source,
        (tmp_path / "x.avi").open("wb") as bare,
    ):  # Annex B, as some cameras store it
        stream = source.streams.video[0]
        annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in source.demux(stream):
            for one in annex_b.filter(packet if packet.dts is not None else None):
                bare.write(bytes(one))
    reader = VideoReader(tmp_path / "x.avi")
    assert reader.frame_count is None
    assert len(list(reader)) == 60


@pytest.mark.parametrize("image_wh", [(161, 121), (33, 17), (2, 2)])
def test_odd_sizes_survive(tmp_path, image_wh):
    with av.open(str(record(tmp_path / "x.avi", 3, codec="mjpeg", image_wh=image_wh))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == image_wh
    image, _ = next(iter(VideoReader(tmp_path / "x.avi")))
    assert image.shape == (image_wh[1], image_wh[0], 3)


def test_a_video_that_claims_giant_frames_is_refused_before_they_are_decoded(tmp_path):
    path = record(tmp_path / "x.mp4", 3)
    with pytest.raises(
        SourceError,
        match=r"its frames have 160x120 = 0 million pixels, expected at most 0\.019 million",
    ):
        VideoReader(path, max_pixels=19_000)
    with SourceReader(open_sources([str(path)], max_pixels=19_000)) as reader:
        assert "its frames have 160x120" in next(iter(reader)).problem


def test_a_wrong_suffix_is_read_by_its_content_or_named(tmp_path):
    shutil.copy(record(tmp_path / "x.mkv", 5), tmp_path / "y.mp4")
    assert len(read(tmp_path / "y.mp4")[0]) == 5
    shutil.copy(tmp_path / "x.mkv", tmp_path / "y.jpg")
    with SourceReader(open_sources([str(tmp_path / "y.jpg")])) as reader:
        assert "y.jpg is not an image that can be read" in next(iter(reader)).problem
    (tmp_path / "z.mp4").write_bytes(b"<html>404</html>" * 50)
    with SourceReader(open_sources([str(tmp_path / "z.mp4")])) as reader:
        assert "cannot be opened as video" in next(iter(reader)).problem


def test_sound_alone_is_not_a_video(tmp_path):
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        for _ in range(5):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="has no video stream"):
        VideoReader(tmp_path / "x.mp4")


def test_closing_ends_the_reading(tmp_path):
    reader = open_sources([str(record(tmp_path / "x.mkv"))])[0].open()
    read_frames = []
    for frame in reader:
        read_frames.append(frame.index)
        if frame.index == 3:
            reader.close()
            reader.close()
    assert len(read_frames) < 60


def test_a_killed_recorders_file_is_read(tmp_path):
    writer = VideoWriter(tmp_path / "x.mp4", frame_rate=Fraction(10), image_wh=(160, 120))
    for number in range(40):
        writer.write(servers.numbered(number))
    shutil.copy(tmp_path / "x.mp4", tmp_path / "killed.mp4")
    writer.close()
    numbers, _, _ = read(tmp_path / "killed.mp4")
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 25


def sizes_and_places(path: Path) -> list[tuple[int, int]]:
    """The position and size of each packet."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("spoilt", [59, 58, 50, 31, 1])
def test_every_frame_next_to_a_damaged_packet_is_read_and_the_damage_named(tmp_path, spoilt):
    """One packet's NAL length is wrong. Threads that decode ahead lose others with it."""
    path = record(tmp_path / "x.mp4")
    content = bytearray(path.read_bytes())
    at, _ = sizes_and_places(path)[spoilt]
    content[at : at + 4] = b"\x00\xff\xff\xff"
    path.write_bytes(content)
    (source,) = open_sources([str(path)])
    with SourceReader([source]) as reader:
        events = list(reader)
    times = [event.frame.time_s for event in events if event.frame]
    assert len(times) == 59
    assert times == sorted(times)
    assert max(times) == pytest.approx(5.8 if spoilt == 59 else 5.9)
    assert events[-1].reader.loss == "1 damaged packet was skipped"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_truncated_file_says_how_many_frames_are_missing(tmp_path, suffix, share):
    """An mp4 with its index in front, like an interrupted download."""
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = record(tmp_path / f"x{suffix}", **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    (source,) = open_sources([str(path)])
    reader = source.open()
    frames = list(reader)
    assert 0 < len(frames) < 60
    # B-frames that were to come before the last one may be missing too
    assert reader.missing_frames == pytest.approx(60 - len(frames), abs=2)
    assert (
        f"{reader.missing_frames} of the 60 frames that the file states are missing" in reader.loss
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
def test_intact_files_lose_nothing(tmp_path, suffix):
    path = record(tmp_path / f"x{suffix}", codec="mpeg4" if suffix == ".avi" else "libx264")
    (source,) = open_sources([str(path)])
    reader = source.open()
    assert len(list(reader)) == 60
    assert reader.loss == ""


def test_a_recorder_that_paused_lost_nothing(tmp_path):
    times = [number * 100 + (5000 if number >= 30 else 0) for number in range(60)]
    (source,) = open_sources([str(record(tmp_path / "x.mkv", times=times))])
    reader = source.open()
    assert len(list(reader)) == 60
    assert reader.loss == ""


def test_a_clip_that_was_trimmed_without_encoding_lost_nothing(tmp_path):
    """Its edit list leaves out what the index still counts."""
    path = record(tmp_path / "x.mp4")
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 4
    duration = int.from_bytes(content[at + 8 : at + 12], "big")
    content[at + 8 : at + 12] = (duration // 2).to_bytes(4, "big")
    path.write_bytes(content)
    (source,) = open_sources([str(path)])
    reader = source.open()
    assert 25 <= len(list(reader)) <= 35
    assert reader.loss == ""


def test_a_truncated_file_fails_in_the_result_of_detect_and_gives_what_is_there(tmp_path):
    from yolo_ema.detect.result import DetectResult, SourceSummary

    summary = SourceSummary("x.mp4", frames=19, damaged=1, missing_frames=41, problem="x.mp4: cut")
    result = DetectResult(tmp_path, {}, (summary,), {}, {})
    assert result.exit_code == 5
    assert (result.as_json()["sources"][0]["missing_frames"]) == 41
    assert (result.as_json()["sources"][0]["damaged"]) == 1


def loss_of(path: Path) -> tuple[int, str]:
    (source,) = open_sources([str(path)])
    reader = source.open()
    return len(list(reader)), reader.loss


_TS_PACKET = 188


@pytest.fixture
def transport_stream(tmp_path) -> bytes:
    """Every frame fills some of its packets."""
    return record(tmp_path / "whole.ts").read_bytes()


@pytest.mark.parametrize("at", [20, 60, 100])
def test_frames_lost_in_a_hole_of_a_transport_stream_are_counted(tmp_path, transport_stream, at):
    """Packets are missing, as where a radio link failed: no decoder sees that frames are gone."""
    path = tmp_path / "x.ts"
    path.write_bytes(
        transport_stream[: _TS_PACKET * at] + transport_stream[_TS_PACKET * (at + 12) :]
    )
    frames, loss = loss_of(path)
    assert 0 < frames < 60
    (lost,) = re.findall(r"about (\d+) frames? (?:was|were) lost in damaged parts", loss)
    assert frames + int(lost) == pytest.approx(60, abs=1)


def test_joined_segments_whose_numbers_restart_lost_nothing(tmp_path, transport_stream):
    content, counters = bytearray(transport_stream), {}
    for at in range(len(content) // _TS_PACKET // 2 * _TS_PACKET, len(content), _TS_PACKET):
        number = (content[at + 1] & 0x1F) << 8 | content[at + 2]
        if content[at + 3] & 0x10:
            counters[number] = (counters.get(number, 6) + 1) % 16
            content[at + 3] = content[at + 3] & 0xF0 | counters[number]
    for name, joined in (("segments", bytes(content)), ("twice", transport_stream * 2)):
        path = tmp_path / f"{name}.ts"
        path.write_bytes(joined)
        assert loss_of(path) == (60 * len(joined) // len(content), "")


@pytest.mark.parametrize("spoilt", [bytes(200), b"\xff" * 200])
def test_a_damaged_jpeg_in_a_video_is_skipped_and_counted(tmp_path, spoilt):
    path = record(tmp_path / "x.avi", codec="mjpeg")
    content = bytearray(path.read_bytes())
    scan = content.index(b"\xff\xda", len(content) // 2) + 40
    content[scan : scan + len(spoilt)] = spoilt
    path.write_bytes(content)
    assert loss_of(path) == (59, "1 damaged packet was skipped")
