"""Images as they come from drones, archives and attackers: read upright, or refused with the right
reason.
"""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from yolo_ema.errors import SourceError
from yolo_ema.io.image_header import image_wh
from yolo_ema.media.sources import image_reader
from yolo_ema.media.sources.image_reader import read_image


@pytest.fixture
def image() -> np.ndarray:
    """(48, 64, 3) with a red top left quarter and noise elsewhere."""
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    image[:24, :32] = (0, 0, 255)
    return image


def _jpeg(image_bgr: np.ndarray, **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image_bgr[:, :, ::-1]).save(buffer, "JPEG", quality=95, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jpg"])
def test_every_format_is_read_as_bgr(tmp_path, image, suffix):
    path = tmp_path / f"x{suffix}"
    assert cv2.imwrite(
        str(path), image, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    )
    found = read_image(path)
    assert found.shape == (48, 64, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[4:20, 4:28].mean((0, 1)), (0, 0, 255), atol=4)
    assert image_wh(path) == (64, 48)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, image, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "x.jpg").write_bytes(_jpeg(image, exif=exif))
    plain = cv2.imdecode(np.frombuffer(_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), np.rot90(plain, turns))


@pytest.mark.skipif(
    Image.registered_extensions().get(".avif") not in Image.SAVE, reason="this Pillow has no AVIF"
)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_as_its_properties_say(tmp_path, image, orientation, large, monkeypatch):
    path, exif = tmp_path / "x.avif", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image[:, :, ::-1]).save(path, quality=95, exif=exif)
    monkeypatch.setattr(image_reader, "_LARGE_PIXELS", 1 if large else 10**9)
    found = read_image(path)
    with Image.open(path) as stored:
        shown = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))[:, :, ::-1]
    assert found.shape[:2][::-1] == image_wh(path)
    np.testing.assert_allclose(found.astype(int), shown, atol=2)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((8, 8), 0x8000, np.uint16), 128),
        (np.full((8, 8, 3), 0x4000, np.uint16), 64),
        (np.full((8, 8), 77, np.uint8), 77),
        (np.dstack([np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8), np.uint8)]), 90),
    ],
    ids=["16-bit grey", "16-bit colour", "grey", "transparent"],
)
def test_depth_grey_and_alpha(tmp_path, stored, expected):
    assert cv2.imwrite(str(tmp_path / "x.png"), stored)
    found = read_image(tmp_path / "x.png")
    assert found.shape == (8, 8, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_truncated_images_are_refused_and_left_unchanged(tmp_path, image, share, kind):
    whole = _jpeg(image) if kind == "jpg" else cv2.imencode(".png", image)[1].tobytes()
    path = tmp_path / f"x.{kind}"
    path.write_bytes(whole[: int(len(whole) * share)])
    before = path.read_bytes()
    with pytest.raises(SourceError, match=r"truncated|damaged"):
        read_image(path)
    assert path.read_bytes() == before


def test_a_truncated_jpeg_is_noticed_although_its_thumbnail_is_intact(tmp_path, image):
    whole = _jpeg(image)
    thumbnail = _jpeg(image[:8, :8])
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = whole[:2] + segment + whole[2:]
    (tmp_path / "whole.jpg").write_bytes(content)
    read_image(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes(content[: len(segment) + len(whole) // 2])
    with pytest.raises(SourceError, match="truncated"):
        read_image(tmp_path / "cut.jpg")


def test_a_jpeg_with_data_after_its_end_is_intact(tmp_path, image):
    (tmp_path / "x.jpg").write_bytes(_jpeg(image) + b"maker notes" * 100)
    assert read_image(tmp_path / "x.jpg").shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "not an image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "not an image|damaged"),
    ],
)
def test_a_file_that_is_not_an_image_is_named_as_such(tmp_path, content, reason):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("call", ["is_file", "read_bytes"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_the_system_does_not_give_is_a_source_error(
    tmp_path, image, monkeypatch, call, code
):
    path = tmp_path / "x.png"
    assert cv2.imwrite(str(path), image)

    def fails(_: Path) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, call, fails)
    with pytest.raises(SourceError, match=f"x.png cannot be read: {os.strerror(code).lower()}"):
        read_image(path)


def test_a_missing_image(tmp_path):
    with pytest.raises(SourceError, match="no image at"):
        read_image(tmp_path / "x.jpg")


def _bomb(path: Path, side: int, bits: int) -> None:
    """Write a PNG of side × side grey pixels of so many bits, all zero, which pack a
    thousandfold.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer = zlib.compressobj(9)
    pixels = (
        b"".join(packer.compress(bytes(side * bits // 8 + 1)) for _ in range(side)) + packer.flush()
    )
    header = struct.pack(">IIBBBBB", side, side, bits, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def read_elsewhere(path: Path) -> tuple[str, int]:
    """Read an image in a process of its own: the error, and how many KiB more that took."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from yolo_ema.media.sources.image_reader import read_image; from yolo_ema.errors import "
        "SourceError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except SourceError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    message, more_kib = done.stdout.splitlines()
    return message, int(more_kib)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "largest"), [(8, 500_000), (1, 50_000)])
def test_a_bomb_is_refused_before_decoding_in_little_memory(tmp_path, bits, largest):
    _bomb(tmp_path / "bomb.png", 20_000, bits)
    assert (tmp_path / "bomb.png").stat().st_size < largest
    message, more_kib = read_elsewhere(tmp_path / "bomb.png")
    assert "20000x20000 = 400 million pixels, expected 1 to 350 million" in message
    assert more_kib < 100 * 1024


def test_the_limit_can_be_set(tmp_path, image):
    assert cv2.imwrite(str(tmp_path / "x.png"), image)
    with pytest.raises(SourceError, match="64x48"):
        read_image(tmp_path / "x.png", max_pixels=64 * 48 - 1)
    assert read_image(tmp_path / "x.png", max_pixels=64 * 48).shape == (48, 64, 3)


def icon(png: bytes) -> bytes:
    """An ICO file, whose reader decodes its image to learn its size."""
    head = struct.pack("<3H", 0, 1, 1)
    return head + struct.pack("<4B2H2I", 0, 0, 0, 0, 1, 32, len(png), 22) + png


def photoshop(width: int, height: int) -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3) + bytes(16)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.bmp", "x.tif"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (photoshop(10_240, 7_200), "a Photoshop document"),
        (photoshop(64, 64), "a Photoshop document"),
        (icon(cv2.imencode(".png", np.zeros((9, 9, 4), np.uint8))[1].tobytes()), "a Windows icon"),
        (b"%PDF-1.7 " + bytes(99), "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "a HEIC image"),
    ],
    ids=["large Photoshop", "Photoshop", "icon", "PDF", "HEIC"],
)
def test_other_formats_are_refused_by_their_actual_name(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"is not an image that can be read: it is {kind}"):
        read_image(path)


@pytest.mark.slow
def test_an_icon_that_is_a_bomb_is_not_decoded_to_find_its_size(tmp_path):
    rows = zlib.compress(bytes((4 * 12_000 + 1) * 12_000), 9)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">2I5B", 12_000, 12_000, 8, 6, 0, 0, 0)),
            (b"IDAT", rows),
            (b"IEND", b""),
        )
    )
    (tmp_path / "x.png").write_bytes(icon(b"\x89PNG\r\n\x1a\n" + chunks))
    message, more_kib = read_elsewhere(tmp_path / "x.png")
    assert "a Windows icon" in message
    assert more_kib < 50 * 1024
