"""Which stream is read, which way up, in which colours, and at which times."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.video_reader import VideoReader

WH = (96, 64)


def picture(number: int = 0, image_wh: tuple[int, int] = WH) -> np.ndarray:
    """Red, green, blue and yellow quarters, clockwise from the top left, each of its own colour."""
    width, height = image_wh
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (30, 30, 200)
    image[: height // 2, width // 2 :] = (30, 180, 30)
    image[height // 2 :, width // 2 :] = (30, 190, 190)
    image[height // 2 :, : width // 2] = (200, 60, 40)
    image[height // 2 - 4 : height // 2 + 4] = number * 4
    return image


def quarters(image: np.ndarray) -> str:
    """The colours at the corners: top left, top right, bottom right, bottom left."""
    names = {"r": (30, 30, 200), "g": (30, 180, 30), "y": (30, 190, 190), "b": (200, 60, 40)}
    corners = (image[4, 4], image[4, -5], image[-5, -5], image[-5, 4])
    return "".join(
        min(names, key=lambda name: np.abs(corner.astype(int) - names[name]).sum())
        for corner in corners
    )


def record(
    path: Path, *, frames: int = 12, codec: str = "libx264", rate: int = 25, wh=WH, change=None, **o
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=o)
        stream.width, stream.height = wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if change:
            change(stream)
        for number in range(frames):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(picture(number, wh), format="bgr24"))
            )
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("flagged", ["attached_pic", "default"])
def test_a_cover_image_is_not_the_video(tmp_path, suffix, flagged):
    path = tmp_path / f"covered{suffix}"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        clip = container.add_stream("libx264", rate=25)
        clip.width, clip.height, clip.pix_fmt = *WH, "yuv420p"
        if flagged == "default":
            clip.disposition = av.stream.Disposition.default
        else:
            cover.disposition = av.stream.Disposition.attached_pic
        still = av.VideoFrame.from_ndarray(picture(0, (320, 240)), format="bgr24")
        container.mux(cover.encode(still))
        container.mux(cover.encode())
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24")
            container.mux(clip.encode(frame))
        container.mux(clip.encode())
    shapes = [image.shape for image, _ in VideoReader(path)]
    assert shapes == [(64, 96, 3)] * 8


def test_of_two_tracks_the_default_one_is_read(tmp_path):
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        small = container.add_stream("libx264", rate=25)
        small.width, small.height, small.pix_fmt = 48, 32, "yuv420p"
        small.disposition = 0
        large = container.add_stream("libx264", rate=25)
        large.width, large.height, large.pix_fmt = *WH, "yuv420p"
        large.disposition = av.stream.Disposition.default
        for number in range(6):
            for stream, wh in ((small, (48, 32)), (large, WH)):
                frame = av.VideoFrame.from_ndarray(picture(number, wh), format="bgr24")
                container.mux(stream.encode(frame))
        for stream in (small, large):
            container.mux(stream.encode())
    reader = VideoReader(path)
    assert reader.image_wh == WH
    assert len(list(reader)) == 6


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_of_two_tracks_without_a_default_the_larger_one_is_read(tmp_path, suffix):
    path = tmp_path / f"two.{suffix}"
    with av.open(str(path), "w") as container:
        streams = []
        for wh in ((48, 32), WH):
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = *wh, "yuv420p"
            stream.disposition = 0
            streams.append((stream, wh))
        for number in range(6):
            for stream, wh in streams:
                frame = av.VideoFrame.from_ndarray(picture(number, wh), format="bgr24")
                container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode())
    reader = VideoReader(path)
    assert reader.image_wh == WH
    assert len(list(reader)) == 6


ONE = 1 << 16
MATRICES = {  # a, b, c, d of x' = a·x + c·y, y' = b·x + d·y, and the corners as they are shown
    "as stored": (ONE, 0, 0, ONE, "rgyb"),
    "mirrored": (-ONE, 0, 0, ONE, "grby"),
    "half turn": (-ONE, 0, 0, -ONE, "ybrg"),
    "upside down": (ONE, 0, 0, -ONE, "bygr"),
    "transposed": (0, ONE, ONE, 0, "rbyg"),
    "clockwise": (0, ONE, -ONE, 0, "brgy"),
    "transverse": (0, -ONE, -ONE, 0, "ygrb"),
    "counter-clockwise": (0, -ONE, ONE, 0, "gybr"),
    "scaled and mirrored": (-3 * ONE, 0, 0, 3 * ONE, "grby"),
    "askew": (46341, 46341, -46341, 46341, "rgyb"),
}


@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_and_mirrored_as_their_matrix_says(tmp_path, name):
    *matrix, corners = MATRICES[name]
    path = record(tmp_path / "x.mp4", frames=2)
    content = path.read_bytes()
    plain = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    at = content.index(plain, content.index(b"tkhd"))
    a, b, c, d = matrix
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + turned + content[at + 36 :])
    image, _ = next(iter(VideoReader(path)))
    assert quarters(image) == corners
    assert image.shape[:2] == ((96, 64) if a == 0 else (64, 96))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_times_of_b_frames_in_avi_rise(tmp_path, codec):
    path = record(tmp_path / "x.avi", frames=30, codec=codec, bf="2", b_adapt="0", g="12")
    frames = list(VideoReader(path))
    assert [time_s for _, time_s in frames] == pytest.approx([n / 25 for n in range(30)], abs=1e-6)
    numbers = [int(image[32, 48, 0]) // 4 for image, _ in frames]
    assert numbers == sorted(numbers), "frames come as they are shown"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_rise_where_a_container_holds_decoding_times_only(tmp_path, suffix):
    """As some recorders write them."""
    made = record(tmp_path / "source.mp4", frames=30, bf="2", b_adapt="0", g="12")
    path = tmp_path / f"x{suffix}"
    with av.open(str(made)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        step = packets[0].duration
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = number * step
            packet.stream = copy
            target.mux(packet)
    frames = list(VideoReader(path))
    times = [time_s for _, time_s in frames]
    assert times == pytest.approx([number / 25 for number in range(30)], abs=2e-3)
    numbers = [int(image[32, 48, 0]) // 4 for image, _ in frames]
    assert numbers == sorted(numbers), "frames come as they are shown"


def test_times_of_ordinary_b_frames_are_unchanged(tmp_path):
    path = record(tmp_path / "x.mkv", frames=30, bf="2", b_adapt="0")
    times = [time_s for _, time_s in VideoReader(path)]
    assert times == pytest.approx([number / 25 for number in range(30)], abs=1e-9)


def test_recordings_joined_end_to_end_continue_where_the_first_ended(tmp_path):
    one = record(tmp_path / "one.ts", frames=10).read_bytes()
    (tmp_path / "joined.ts").write_bytes(one + one + one)
    times = [time_s for _, time_s in VideoReader(tmp_path / "joined.ts")]
    assert times == pytest.approx([number / 25 for number in range(30)], abs=1e-6)


@pytest.mark.parametrize("matrix", [8, 10, 12, 14, 17])
def test_colour_matrices_that_cannot_be_converted_give_frames_and_a_note(tmp_path, matrix):
    path = record(
        tmp_path / "x.mkv",
        codec="ffv1",
        frames=3,
        change=lambda stream: setattr(stream.codec_context, "colorspace", 9),
    )
    stated = b"\x55\xb1\x81"  # Matroska's MatrixCoefficients
    content = path.read_bytes()
    assert content.count(stated + b"\x09") == 1
    path.write_bytes(content.replace(stated + b"\x09", stated + bytes([matrix])))
    reader = VideoReader(path)
    images = [image for image, _ in reader]
    assert [quarters(image) for image in images] == ["rgyb"] * 3
    assert len(reader.notes) == 1
    assert f"colour matrix {matrix} of ITU-T H.273 cannot be converted" in reader.notes[0]


def test_a_usual_colour_matrix_gives_no_note(tmp_path):
    reader = VideoReader(record(tmp_path / "x.mp4", frames=2))
    assert len(list(reader)) == 2
    assert reader.notes == []


def test_interlaced_frames_are_deinterlaced(tmp_path):
    """A bar that moves between the fields gives a comb; deinterlaced, rows change smoothly."""

    def interlaced(stream) -> None:
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct

    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264opts": "tff=1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        interlaced(stream)
        for number in range(12):
            image = np.full((96, 128, 3), 30, np.uint8)
            for field in (0, 1):
                left = 8 * number + 4 * field
                image[field::2, left : left + 24] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())

    def comb(image: np.ndarray) -> float:
        rows = image[8:-8, :, 1].astype(int)
        return float(np.abs(rows[1:-1] * 2 - rows[:-2] - rows[2:]).mean())

    with av.open(str(path)) as container:
        stored = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    reader = VideoReader(path)
    frames = list(reader)
    assert len(frames) == len(stored) == 12
    assert [time_s for _, time_s in frames] == pytest.approx([n / 25 for n in range(12)], abs=1e-3)
    assert comb(frames[6][0]) < comb(stored[6]) / 3
    assert reader.notes == ["the video is interlaced: its frames are deinterlaced"]


def test_the_shape_of_pixels_is_passed_on_and_not_applied(tmp_path):
    path = record(
        tmp_path / "x.mp4",
        frames=2,
        change=lambda stream: setattr(stream.codec_context, "sample_aspect_ratio", Fraction(4, 3)),
    )
    reader = VideoReader(path)
    assert [image.shape for image, _ in reader] == [(64, 96, 3)] * 2
    assert reader.pixel_aspect == Fraction(4, 3)


@pytest.mark.parametrize("suffix", [".h264", ".ts"])
def test_frames_larger_than_the_header_says_are_refused_undecoded(tmp_path, suffix):
    small = record(tmp_path / f"small{suffix}", frames=3).read_bytes()
    large = record(tmp_path / f"large{suffix}", frames=3, wh=(640, 480)).read_bytes()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(small + large)
    assert len(list(VideoReader(path))) == 6
    with pytest.raises(SourceError, match=r"frames have 640x480 = 0 million .* at most 0\.1 "):
        list(VideoReader(path, max_pixels=100_000))


def test_a_name_that_reads_as_an_address_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = record(tmp_path / "x.mp4", frames=4).read_bytes()
    for name in (
        "2024-05-01T10:30:00.mp4",
        "http:127.0.0.1:9?x=.mp4",
        "pipe:0.mp4",
        "crypto:x.mp4",
    ):
        (tmp_path / name).write_bytes(whole)
        for given in (name, f"./{name}", str(tmp_path / name)):
            (source,) = open_sources([given])
            assert len(list(source.open())) == 4


def test_a_playlist_named_like_a_video_reaches_no_other_file(tmp_path):
    record(tmp_path / "secret.ts", frames=2)
    (tmp_path / "x.mp4").write_text(
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(SourceError):
        list(VideoReader(tmp_path / "x.mp4"))


def test_a_frame_that_lacks_slices_is_damaged(tmp_path):
    slices = {"tune": "zerolatency", "x264-params": "sliced-threads=1:slices=2:keyint=10"}
    whole = record(tmp_path / "whole.mkv", frames=30, **slices)
    with av.open(str(whole)) as read, av.open(str(tmp_path / "torn.mkv"), "w") as written:
        video = read.streams.video[0]
        copy = written.add_stream_from_template(video)
        packets = [packet for packet in read.demux(video) if packet.size]
        for number, packet in enumerate(packets):
            content = bytes(packet)
            # Each slice stands behind its length of four bytes; the last one goes.
            ends = [0]
            while ends[-1] < len(content):
                ends.append(ends[-1] + 4 + struct.unpack_from(">I", content, ends[-1])[0])
            kept = av.Packet(content[: ends[-2]] if number == 15 else content)
            kept.pts, kept.dts, kept.time_base = packet.pts, packet.dts, packet.time_base
            kept.is_keyframe, kept.stream = packet.is_keyframe, copy
            written.mux(kept)
    assert len(list(VideoReader(whole))) == 30
    reader = VideoReader(tmp_path / "torn.mkv")
    assert len(list(reader)) == 30
    assert reader.damaged_packets == 1
