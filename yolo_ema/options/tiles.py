"""What the options of tiled detection mean, for every verb that has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["MERGES", "tile_problems", "tile_size"]

MERGES = ("nms", "agnostic-nms", "ios-nms", "weighted-nms")
_SIZE = re.compile(r"(\d+)x(\d+)")
_LEAST_TILE_PX = 32
_MOST_OVERLAP = 0.9


def tile_size(tile: str) -> tuple[int, int] | None:
    """Return the width and height in pixels that ``WxH`` names; None for ``auto`` and ``off``."""
    match = _SIZE.fullmatch(tile)
    return (int(match[1]), int(match[2])) if match else None


def tile_problems(tile: str, overlap: float) -> Iterator[str]:
    """Yield what is wrong with ``--tile`` and ``--overlap``."""
    size = tile_size(tile)
    if size is None and tile not in {"auto", "off"}:
        yield f"--tile is {tile!r}; expected auto, off, or width x height in pixels, as in 640x640"
    if size is not None and min(size) < _LEAST_TILE_PX:
        yield f"--tile is {tile}; expected sides of {_LEAST_TILE_PX} pixels or more"
    if not 0 <= overlap <= _MOST_OVERLAP:
        yield f"--overlap is {overlap}; expected 0 to {_MOST_OVERLAP}"
