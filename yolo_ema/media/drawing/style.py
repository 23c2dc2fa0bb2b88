"""Colours and lettering of everything that is drawn.

Text is set in a real font, rendered once and then copied: OpenCV's own letters are strokes of a
plotter, hard to read when small, and ASCII only.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yolo_ema.constants import BOX_COLOURS_RGB

_CACHE_BYTES = 4 << 20
"""Labels with scores and identities hardly ever repeat: without a bound on bytes their cache would
grow by 50 MB in some thousand frames.
"""


def class_colour_bgr(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class; after ten classes the colours repeat."""
    red, green, blue = BOX_COLOURS_RGB[class_id % len(BOX_COLOURS_RGB)]
    return blue, green, red


def ink_on_bgr(ground_bgr: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever reads better on a background."""
    blue, green, red = ground_bgr
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 105 else (255, 255, 255)


class _LabelCache:
    """The labels used last, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self.bytes_held = most_bytes, 0
        self._labels: OrderedDict[object, np.ndarray] = OrderedDict()

    def get(self, key: object) -> np.ndarray | None:
        label = self._labels.get(key)
        if label is not None:
            self._labels.move_to_end(key)
        return label

    def add(self, key: object, label: np.ndarray) -> None:
        self._labels[key] = label
        self.bytes_held += label.nbytes
        while self.bytes_held > self._most_bytes:
            self.bytes_held -= self._labels.popitem(last=False)[1].nbytes


_labels = _LabelCache(_CACHE_BYTES)


def render_label(text: str, size_px: int, ground_bgr: tuple[int, int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8 BGR, read-only: ``text`` in black or white on a background, with a
    margin.
    """
    key = (text, size_px, ground_bgr)
    label = _labels.get(key)
    if label is None:
        margin = max(2, size_px // 4)
        cover = np.pad(text_mask(text, size_px), ((1, 1), (margin, margin)))[..., None]
        ink, ground = np.array(ink_on_bgr(ground_bgr), np.float32), np.array(ground_bgr, np.float32)
        label = (ground + cover * (ink - ground)).round().astype(np.uint8)
        label.setflags(write=False)
        _labels.add(key, label)
    return label


@lru_cache(maxsize=64)
def text_mask(text: str, size_px: int) -> np.ndarray:
    """Return (H, W) float32 in 0…1, read-only: how much ink covers each pixel. All texts of one
    size have the same height.
    """
    font = _font(size_px)
    # A line break in a class name would make Pillow fail.
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    ascent, descent = font.getmetrics()
    width = max(1, round(font.getlength(text)))
    canvas = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(canvas).text((0, 0), text, font=font, fill=255)
    mask = np.asarray(canvas, np.float32) / 255
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which covers Latin, Greek, Cyrillic and Arabic letters."""
    return ImageFont.truetype(str(Path(__file__).with_name("DejaVuSans.ttf")), size_px)


def copy_inside(canvas: np.ndarray, label: np.ndarray, x: int, y: int) -> None:
    """Copy a label onto the canvas, moved inside where it would stick out, and cropped where it is
    larger than the canvas.
    """
    height, width = canvas.shape[:2]
    x, y = max(0, min(x, width - label.shape[1])), max(0, min(y, height - label.shape[0]))
    canvas[y : y + label.shape[0], x : x + label.shape[1]] = label[: height - y, : width - x]
