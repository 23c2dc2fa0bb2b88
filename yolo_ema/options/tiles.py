"""Options of tiled detection, for every verb that has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from yolo_ema.options.fields import Options, option

MERGES = ("nms", "agnostic-nms", "ios-nms", "weighted-nms")
_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
_LEAST_TILE_PX = 32
_MOST_OVERLAP = 0.9
TILES = "tiles"
"""Heading of what concerns tiles."""

_tiles_option = partial(option, group=TILES)


@dataclass(frozen=True, kw_only=True)
class TileOptions(Options):
    """How large images go through the network: whole, or in tiles whose boxes are merged."""

    GROUPS: ClassVar[tuple[str, ...]] = (TILES,)
    TILE_WORDS: ClassVar[tuple[str, ...]] = ("auto", "off")

    tile: str = _tiles_option(
        "auto",
        metavar="auto|off|WxH",
        joined_by="x",
        help="tiles of this width and height in pixels; auto: a larger input, or tiles, where "
        "objects would become too small; off: the whole image at the input size",
    )
    overlap: float = _tiles_option(
        0.2,
        help=f"overlap of neighbouring tiles as a share of the tile, 0 to {_MOST_OVERLAP}",
        at_least=0,
        at_most=_MOST_OVERLAP,
    )
    whole_frame: bool | None = _tiles_option(
        None, help="also run the whole frame, for objects larger than the overlap; default: yes"
    )
    merge: str = _tiles_option("nms", choices=MERGES, help="how the boxes of the tiles are merged")
    augment: bool = _tiles_option(
        False,
        help="run each image or tile mirrored and, where the weights take any size, enlarged as "
        "well, and merge as for tiles: two to four times the time",
    )

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with ``--tile``."""
        yield from super().problems()
        size = tile_size(self.tile)
        if size is None and self.tile not in self.TILE_WORDS:
            yield (
                f"--tile is {self.tile!r}; expected {', '.join(self.TILE_WORDS)}, or width x "
                f"height in pixels, as in 640x640"
            )
        if size is not None and min(size) < _LEAST_TILE_PX:
            yield f"--tile is {self.tile}; expected sides of {_LEAST_TILE_PX} pixels or more"


def tile_size(tile: str) -> tuple[int, int] | None:
    """Return the width and height in pixels that ``WxH`` names; None for words."""
    match = _SIZE.fullmatch(tile)
    return (int(match[1]), int(match[2])) if match else None
