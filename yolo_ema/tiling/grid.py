"""Where the tiles of a large image lie."""

from __future__ import annotations

import math

import numpy as np

from yolo_ema.errors import ConfigError

__all__ = ["tile_grid"]


def tile_grid(
    image_wh: tuple[int, int], tile_wh: tuple[int, int], overlap_px: int | tuple[int, int] = 0
) -> np.ndarray:
    """Return the tiles that cover an image: all of one size, evenly spread, neighbours overlapping
    by at least ``overlap_px``.

    No tile leaves the image and none is smaller than asked for, but where the image itself is
    smaller than the tile: there the one tile of that axis is as long as the image. There are as few
    tiles as the overlap allows, and spreading them evenly turns what is left over into more overlap
    in place of a thin last tile.

    Args:
        image_wh: the image's width and height in pixels, at least 1.
        tile_wh: a tile's width and height in pixels, at least 1.
        overlap_px: the least overlap of neighbours in pixels, from 0 to one below the tile's side;
            one number, or x and y.

    Returns:
        (T, 4) int64 x1 y1 x2 y2 in pixels, half open, row by row from the top left.

    Raises:
        ConfigError: a size is below 1, or the overlap does not fit the tile.

    Examples:
        >>> from yolo_ema import tile_grid
        >>> tile_grid((1000, 600), (640, 640), overlap_px=128).tolist()
        [[0, 0, 640, 600], [360, 0, 1000, 600]]
    """
    overlap_xy = (
        (overlap_px, overlap_px) if isinstance(overlap_px, int | np.integer) else overlap_px
    )
    starts_x, starts_y = (
        _starts(*axis)
        for axis in zip(image_wh, tile_wh, overlap_xy, ("width", "height"), strict=True)
    )
    tile_w, tile_h = (min(image, tile) for image, tile in zip(image_wh, tile_wh, strict=True))
    y1, x1 = (axis.reshape(-1) for axis in np.meshgrid(starts_y, starts_x, indexing="ij"))
    return np.stack((x1, y1, x1 + tile_w, y1 + tile_h), axis=1)


def _starts(image: int, tile: int, overlap: int, name: str) -> np.ndarray:
    """Return the tiles' first pixels along one axis."""
    if image < 1 or tile < 1:
        raise ConfigError(
            f"tiles of {name} {tile} on an image of {name} {image}: both must be at least 1 pixel"
        )
    if not 0 <= overlap < tile:
        raise ConfigError(
            f"the overlap is {overlap} pixels; expected 0 to {tile - 1}, since the tile's {name} "
            f"is {tile}"
        )
    if image <= tile:
        return np.zeros(1, dtype=np.int64)
    count = math.ceil((image - overlap) / (tile - overlap))
    # Rounded down, the steps between evenly spaced places are at most the even step rounded up, and
    # that is at most tile - overlap.
    return np.arange(count, dtype=np.int64) * (image - tile) // (count - 1)
