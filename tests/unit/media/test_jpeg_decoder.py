"""Damage inside JPEGs, which decoders silently paint grey."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.media.sources.jpeg_decoder import decode_jpeg

IMAGE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 255, (96, 144, 3), dtype=np.uint8), (5, 5), 0
)


def encoded(*settings: int) -> bytes:
    return cv2.imencode(".jpg", IMAGE, list(settings))[1].tobytes()


KINDS = {
    "4:2:0": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x221111),
    "4:4:4": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart marks": (cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "own tables": (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_intact_images_have_exactly_the_pixels_opencv_gives(kind):
    content = encoded(*KINDS[kind])
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode_jpeg(content), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "own tables"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_hole_of_zeros_is_damage(tmp_path, kind, share):
    content = bytearray(encoded(*KINDS[kind]))
    start = int(len(content) * share)
    content[start : start + len(content) // 12] = bytes(len(content) // 12)
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.jpg is damaged: Corrupt JPEG data"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_with_an_end_mark_is_damage(tmp_path, kind):
    content = encoded(*KINDS[kind])
    (tmp_path / "x.jpg").write_bytes(content[: len(content) * 2 // 3] + b"\xff\xd9")
    with pytest.raises(SourceError, match=r"x\.jpg is damaged"):
        read_image(tmp_path / "x.jpg")


def test_any_libjpeg_warning_is_damage(capfd):
    """OpenCV's own libjpeg writes its warnings to standard error, and returns an image."""
    content, warned_of = encoded(), 0
    for seed in range(60):
        spoilt = bytearray(content)
        at = int(np.random.default_rng(seed).integers(700, len(content) - 50))
        spoilt[at] ^= 0x5A
        cv2.imdecode(np.frombuffer(bytes(spoilt), np.uint8), cv2.IMREAD_COLOR)
        if "Corrupt JPEG data" in capfd.readouterr().err:
            warned_of += 1
            with pytest.raises(ValueError, match="is damaged: "):
                decode_jpeg(bytes(spoilt))
    assert warned_of > 15


@pytest.mark.parametrize("padding", [b"\0" * 40, b"\xff" * 40])
def test_padding_after_the_pixels_is_not_damage(padding):
    content = encoded()
    padded = content[:-2] + padding + content[-2:]
    assert np.array_equal(decode_jpeg(padded), decode_jpeg(content))


def test_data_after_the_end_is_not_damage():
    content = encoded()
    assert np.array_equal(decode_jpeg(content + b"a maker's note \0\1\2"), decode_jpeg(content))


def test_four_colours_are_read(tmp_path):
    flat = np.full((32, 32, 3), (30, 90, 200), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "x.jpg")
    image = read_image(tmp_path / "x.jpg")
    expected = cv2.imread(str(tmp_path / "x.jpg"))
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_applied_as_opencv_applies_them(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(IMAGE).save(tmp_path / "x.jpg", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.jpg"), cv2.imread(str(tmp_path / "x.jpg")))
