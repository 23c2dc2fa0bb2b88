"""Text in pictures, in a real font: rendered once a word and size, then copied.

OpenCV's own letters are strokes of a plotter, hard to read when small, and know ASCII only.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yolo_ema.media.drawing.palette import ink_on_bgr

__all__ = ["copy_inside", "plate", "text_mask"]


@lru_cache(maxsize=4096)
def plate(text: str, size_px: int, ground_bgr: tuple[int, int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8 BGR, not to be written to: ``text`` in black or white on a ground,
    with a margin.
    """
    mask = text_mask(text, size_px)
    margin = max(2, size_px // 4)
    ink, ground = np.array(ink_on_bgr(ground_bgr), np.float32), np.array(ground_bgr, np.float32)
    cover = np.pad(mask, ((1, 1), (margin, margin)))[..., None]
    made = (ground + cover * (ink - ground)).round().astype(np.uint8)
    made.setflags(write=False)
    return made


@lru_cache(maxsize=4096)
def text_mask(text: str, size_px: int) -> np.ndarray:
    """Return (H, W) float32 in 0…1, not to be written to: how much ink covers each pixel. All texts
    of a size are equally high.
    """
    font = _font(size_px)
    text = "".join(
        sign if sign.isprintable() else " " for sign in text
    )  # a line break in a class name fails
    ascent, descent = font.getmetrics()
    width = max(1, round(font.getlength(text)))
    canvas = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(canvas).text((0, 0), text, font=font, fill=255)
    made = np.asarray(canvas, np.float32) / 255
    made.setflags(write=False)
    return made


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib and knows European, Greek, Cyrillic and
    Arabic letters.
    """
    package = importlib.util.find_spec("matplotlib")  # found, not imported: that takes a while
    folder = Path(package.origin).parent if package and package.origin else Path()
    return ImageFont.truetype(
        str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size_px
    )


def copy_inside(canvas: np.ndarray, word: np.ndarray, x: int, y: int) -> None:
    """Copy a plate to a place of the picture, pushed inside where it would stick out, and cut where
    it is larger.
    """
    height, width = canvas.shape[:2]
    x, y = max(0, min(x, width - word.shape[1])), max(0, min(y, height - word.shape[0]))
    canvas[y : y + word.shape[0], x : x + word.shape[1]] = word[: height - y, : width - x]
