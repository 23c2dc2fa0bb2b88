"""The colour of a class's boxes, and the ink that reads well on it."""

from __future__ import annotations

from yolo_ema.constants import BOX_COLOURS_RGB

__all__ = ["class_colour_bgr", "ink_on_bgr"]


def class_colour_bgr(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class; from the eleventh on they come round again."""
    red, green, blue = BOX_COLOURS_RGB[class_id % len(BOX_COLOURS_RGB)]
    return blue, green, red


def ink_on_bgr(ground_bgr: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever reads better on a ground."""
    blue, green, red = ground_bgr
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 105 else (255, 255, 255)
