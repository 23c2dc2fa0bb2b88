"""Colours that keep classes apart, also for colour-blind viewers.

Ten colours whose least distance in CIELAB is large as they are and as people without red or green
cones see them; a search over lively colours found them, and a test holds the distances.
"""

from __future__ import annotations

__all__ = ["PALETTE_RGB", "class_colour_bgr", "ink_on_bgr"]

PALETTE_RGB = (
    (255, 255, 0),  # yellow
    (255, 136, 0),  # orange
    (221, 0, 136),  # magenta
    (0, 255, 221),  # aqua
    (170, 34, 255),  # violet
    (238, 0, 51),  # red
    (238, 136, 136),  # salmon
    (136, 119, 221),  # lavender
    (255, 255, 170),  # straw
    (102, 204, 238),  # sky
)


def class_colour_bgr(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class; from the eleventh on they come round again."""
    red, green, blue = PALETTE_RGB[class_id % len(PALETTE_RGB)]
    return blue, green, red


def ink_on_bgr(ground_bgr: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever reads better on a ground."""
    blue, green, red = ground_bgr
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 105 else (255, 255, 255)
