"""Whether an image is cut into tiles, and where they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yolo_ema.errors import ConfigError
from yolo_ema.tiling.grid import tile_grid

__all__ = ["ObjectSizes", "TilePlan", "plan_tiles"]

HARMLESS_SHRINKING = 1.25
"""Up to this factor a frame may be shrunk to the network's input before ``auto`` takes tiles."""

SMALL_PX = 32.0
"""Objects below this size, the square root of their box's area, are small: COCO's bound."""


@dataclass(frozen=True)
class ObjectSizes:
    """How large the objects were that a network was trained on: square roots of box areas, in
    pixels.

    Attributes:
        source_median: the median in the pixels of the images.
        input_tenth: the size below which a tenth of them lay in the network's input, before
            augmentation.
    """

    source_median: float
    input_tenth: float


@dataclass(frozen=True)
class TilePlan:
    """How an image is divided.

    Attributes:
        tiles_xyxy: (T, 4) int64 x1 y1 x2 y2 in pixels, half open; none where the frame
            only runs as a whole.
        whole_frame: the frame runs as a whole, alone or besides the tiles.
        overlap_px: least overlap of neighbouring tiles in pixels, x and y.
        reason: what was chosen and why, a sentence for the user.
    """

    tiles_xyxy: np.ndarray
    whole_frame: bool
    overlap_px: tuple[int, int]
    reason: str


def plan_tiles(
    image_wh: tuple[int, int],
    input_hw: tuple[int, int],
    *,
    tile: str | tuple[int, int] = "auto",
    overlap: float = 0.2,
    whole_frame: bool | None = None,
    stride: int | None = None,
    objects: ObjectSizes | None = None,
) -> TilePlan:
    """Decide how an image is divided.

    ``auto`` takes the whole frame where it is hardly shrunk, or where objects like those that the
    network was trained on stay large enough when it is: no smaller than the smallest tenth of
    those, and not small in COCO's sense. Otherwise tiles as large as the network's input, so that
    each pixel of the image is a pixel of the input.

    Args:
        image_wh: the image's width and height in pixels.
        input_hw: the height and width of the network's input in pixels.
        tile: ``auto``, ``off``, or a tile's width and height in pixels.
        overlap: least overlap of neighbours as a share of the tile, 0 to 0.9.
        whole_frame: also run the whole frame; None for yes.
        stride: of a network that takes inputs of any multiple of it: ``auto`` then makes tiles no
            larger than their number needs. None where the input is always as large.
        objects: the sizes of the objects that the network was trained on, where they are known.

    Raises:
        ConfigError: ``tile`` or ``overlap`` makes no sense.
    """
    if not 0 <= overlap <= 0.9:
        raise ConfigError(
            f"the overlap of tiles is {overlap}; expected a share of the tile, 0 to 0.9"
        )
    input_wh = (input_hw[1], input_hw[0])
    if tile == "off":
        return _whole("tiles are off")
    if tile == "auto":
        why_whole, why_tiles = _judge(image_wh, input_wh, objects)
        if why_whole:
            return _whole(why_whole)
        tile_wh = input_wh
    elif isinstance(tile, str) or len(tile) != 2 or min(tile) < 1:
        raise ConfigError(
            f"the tile is {tile!r}; expected auto, off, or width and height in pixels"
        )
    else:
        tile_wh, why_tiles = tile, "as asked for"
    if image_wh[0] <= tile_wh[0] and image_wh[1] <= tile_wh[1]:
        return _whole(
            f"its {image_wh[0]}x{image_wh[1]} pixels fit into one tile of {tile_wh[0]}x{tile_wh[1]}"
        )
    overlap_px = (int(tile_wh[0] * overlap), int(tile_wh[1] * overlap))
    if tile == "auto" and stride:
        tile_wh = _trimmed(image_wh, tile_wh, overlap_px, stride)
    tiles = tile_grid(image_wh, tile_wh, overlap_px)
    with_whole = whole_frame is not False
    width, height = (tiles[0, 2:] - tiles[0, :2]).tolist()
    what = f"{len(tiles)} tiles of {width}x{height} pixels" + (
        " and the whole frame" if with_whole else ""
    )
    return TilePlan(tiles, with_whole, overlap_px, f"{what}: {why_tiles}")


def _whole(why: str) -> TilePlan:
    return TilePlan(np.empty((0, 4), dtype=np.int64), True, (0, 0), f"the whole frame: {why}")


def _judge(
    image_wh: tuple[int, int], input_wh: tuple[int, int], objects: ObjectSizes | None
) -> tuple[str, str]:
    """Return why ``auto`` takes the whole frame, or an empty text, and why it takes tiles."""
    shrinking = max(image / side for image, side in zip(image_wh, input_wh, strict=True))
    frame = f"{image_wh[0]}x{image_wh[1]} pixels"
    into = f"the network's input of {input_wh[0]}x{input_wh[1]}"
    if shrinking <= 1:
        return f"its {frame} fit into {into}", ""
    shrunk = f"{frame} would be shrunk {shrinking:.1f} times to fit into {into}"
    if shrinking <= HARMLESS_SHRINKING:
        return f"{frame} are shrunk only {shrinking:.2f} times to fit into {into}", ""
    if objects is None:
        return "", shrunk
    shown = objects.source_median / shrinking
    known = (
        f"objects like those it was trained on, {objects.source_median:.0f} pixels in the "
        f"median, to {shown:.0f} pixels"
    )
    if shown >= max(SMALL_PX, objects.input_tenth):
        return f"{shrunk}, {known}, which is large enough", ""
    return "", f"{shrunk}, {known}"


def _trimmed(
    image_wh: tuple[int, int], tile_wh: tuple[int, int], overlap_px: tuple[int, int], stride: int
) -> tuple[int, int]:
    """Return the tile with one side no longer than needed to cover the image with as many tiles.

    Only one side: a tile shorter than the input in both would be scaled up to it.
    """
    needed = [_needed(*axis, stride) for axis in zip(image_wh, tile_wh, overlap_px, strict=True)]
    shares = [
        least / side if image_wh[1 - axis] >= tile_wh[1 - axis] else 1.0
        for axis, (least, side) in enumerate(zip(needed, tile_wh, strict=True))
    ]
    axis = shares.index(min(shares))
    if shares[axis] >= 1:
        return tile_wh
    return (needed[0], tile_wh[1]) if axis == 0 else (tile_wh[0], needed[1])


def _needed(image: int, tile: int, overlap: int, stride: int) -> int:
    """Return the least multiple of the stride, up to the tile, that covers a side with as many
    tiles and as much overlap.
    """
    if image <= tile:
        return tile
    count = math.ceil((image - overlap) / (tile - overlap))
    least = math.ceil((image + (count - 1) * overlap) / count)
    return min(tile, math.ceil(least / stride) * stride)
