"""Large images are decoded in place: the same pixels, and the same refusals."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from as_on_windows import open_images_by_ascii_names_alone
from PIL import Image

from yolo_ema.errors import SourceError
from yolo_ema.media.sources import image_reader as images
from yolo_ema.media.sources.image_reader import read_image


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def both_ways(path, monkeypatch):
    small = read_image(path)
    monkeypatch.setattr(images, "_LARGE_PIXELS", 1)
    return small, read_image(path)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_jpegs_upright(pixels, turn, tmp_path, monkeypatch):
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[274] = turn
    image.save(tmp_path / "a.jpg", exif=exif)
    small, large = both_ways(tmp_path / "a.jpg", monkeypatch)
    assert large.shape == ((60, 40, 3) if turn > 4 else (40, 60, 3))
    np.testing.assert_array_equal(large, small)


def test_grey_16_bit_and_alpha(pixels, tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "grey.png"), pixels[..., 0].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack((pixels, pixels[..., :1])))
    for name in ("grey", "alpha"):
        with monkeypatch.context() as patch:
            small, large = both_ways(tmp_path / f"{name}.png", patch)
        np.testing.assert_array_equal(large, small)


def test_names_that_opencv_does_not_open(pixels, tmp_path, monkeypatch):
    path = tmp_path / "Straße.png"
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    open_images_by_ascii_names_alone(monkeypatch)
    monkeypatch.setattr(sys, "platform", "win32")
    small, large = both_ways(path, monkeypatch)
    np.testing.assert_array_equal(large, small)


def test_damaged(pixels, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels)
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(340)
    path.write_bytes(content)
    monkeypatch.setattr(images, "_LARGE_PIXELS", 1)
    with pytest.raises(SourceError, match="cannot be decoded"):
        read_image(path)
