"""Whether an image goes through the network whole, at which size, or in which tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from yolo_ema.errors import ConfigError
from yolo_ema.tiling.grid import tile_grid
from yolo_ema.tiling.plan_figures import PlanFigures, scaled_side

HARMLESS_SHRINKING = 1.25
"""How much ``auto`` may shrink a frame to the weights' input before it takes another plan."""

LARGEST_INPUT = 2
"""How many times as long as the weights' input ``auto`` makes the sides of a larger one where
the weights carry no figures: memory grows with the square, and few objects of the training were as
large as a still larger input makes them.
"""

ACCEPTED_SHRINKING = 1.6
"""Up to this factor a frame may be shrunk to the larger input before ``auto`` takes tiles. With it
frames of up to 2048 pixels go whole into 1280, at a half to a quarter of the time of tiles of 640.
"""

SMALL_PX = 32.0
"""Objects below this size, the square root of their box's area, are small: COCO's bound."""


SizeFixedBy = Literal["", "file", "imgsz"]
"""Why an input can't be larger: nothing, the file takes one size, or ``imgsz`` was asked for."""

_FIXED_BY: dict[SizeFixedBy, str] = {
    "": "",
    "file": ", the only size that the file takes",
    "imgsz": ", the size asked for",
}


@dataclass(frozen=True)
class ObjectSizes:
    """How large the objects were that a network was trained on: square roots of box areas, in
    pixels.

    Attributes:
        source_median: the median in the pixels of the images.
        input_tenth: below it a tenth of them lay in the network's input, not augmented.
    """

    source_median: float
    input_tenth: float


@dataclass(frozen=True)
class TilePlan:
    """How an image goes through the network.

    Attributes:
        tiles_xyxy: (T, 4) int64 x1 y1 x2 y2 in pixels, half open; none for the frame alone.
        whole_frame: the frame runs as a whole, alone or besides the tiles.
        overlap_px: least overlap of neighbouring tiles in pixels, x and y.
        reason: what was chosen and why, a sentence for the user.
        input_hw: height and width in pixels of the input for the whole frame and for each tile:
            the weights' own, or a larger one for a frame without tiles.
    """

    tiles_xyxy: np.ndarray
    whole_frame: bool
    overlap_px: tuple[int, int]
    reason: str
    input_hw: tuple[int, int]


def plan_tiles(
    image_wh: tuple[int, int],
    input_hw: tuple[int, int],
    *,
    tile: str | tuple[int, int] = "auto",
    overlap: float = 0.2,
    whole_frame: bool | None = None,
    stride: int | None = None,
    rectangular: bool = True,
    objects: ObjectSizes | None = None,
    figures: PlanFigures | None = None,
    size_fixed_by: SizeFixedBy = "",
) -> TilePlan:
    """Decide how an image goes through the network.

    ``auto`` takes the whole frame where it is hardly shrunk, or objects like those that the network
    was trained on stay large enough. Next the whole frame at a larger input, up to `LARGEST_INPUT`
    times the network's own, where it is shrunk at most `ACCEPTED_SHRINKING` times to that or
    objects stay large enough: fewer pixels than tiles, which overlap. Otherwise tiles as large as
    the network's input. Figures that the weights carry decide in place of the two constants.

    An input that is not square is turned to an image that stands where it lies, if the network
    takes any size.

    Args:
        image_wh: the image's width and height in pixels.
        input_hw: the height and width of the network's input in pixels.
        tile: ``auto``, ``off``, or a tile's width and height in pixels.
        overlap: least overlap of neighbours as a share of the tile, 0 to 0.9.
        whole_frame: also run the whole frame; None for yes. False is for tiles alone, so that
            ``auto`` takes no larger input.
        stride: of a network that takes inputs of any multiple of it. None where the input is
            always as large.
        rectangular: inputs need not have the shape of ``input_hw``, if there is a stride: ``auto``
            turns them, and makes tiles no larger than their number needs.
        objects: the sizes of the objects that the network was trained on, where they are known.
        figures: what plans gained and cost with these weights, where it was measured.
        size_fixed_by: why the input can't be larger.

    Raises:
        ConfigError: ``tile`` or ``overlap`` makes no sense.
    """
    _check(tile, overlap)
    shaped_by = stride if rectangular else None
    if tile == "off":
        return _whole("tiles are off", input_hw)
    if tile == "auto":
        grows_by = None if whole_frame is False or size_fixed_by else stride
        if shaped_by and not size_fixed_by and _is_turned(image_wh, input_hw):
            input_hw = input_hw[::-1]
        figures = None if whole_frame is False else _that_can_run(figures, size_fixed_by)
        fixed_by = _FIXED_BY[size_fixed_by]
        judged = _judge(image_wh, input_hw, objects, figures, grows_by, fixed_by=fixed_by)
        if isinstance(judged, TilePlan):
            return judged
        tile_wh, why_tiles = input_hw[::-1], judged
    else:
        tile_wh, why_tiles = cast("tuple[int, int]", tile), "as asked for"
    if image_wh[0] <= tile_wh[0] and image_wh[1] <= tile_wh[1]:
        fits = f"its {image_wh[0]}x{image_wh[1]} pixels fit into one tile"
        return _whole(f"{fits} of {tile_wh[0]}x{tile_wh[1]}", input_hw)
    overlap_px = (int(tile_wh[0] * overlap), int(tile_wh[1] * overlap))
    if tile == "auto" and shaped_by:
        tile_wh = _trimmed(image_wh, tile_wh, overlap_px, shaped_by)
    if whole_frame is None and tile == "auto" and figures and figures.best.tiles:
        whole_frame = figures.best.whole_frame
    with_whole, tiles = whole_frame is not False, tile_grid(image_wh, tile_wh, overlap_px)
    tiling = _described(tiles, with_whole)
    return TilePlan(tiles, with_whole, overlap_px, f"{tiling}: {why_tiles}", input_hw)


def _that_can_run(figures: PlanFigures | None, size_fixed_by: SizeFixedBy) -> PlanFigures | None:
    """Return the figures of the plans that are left where something fixes the input's size."""
    if size_fixed_by == "imgsz":
        return None  # another size was asked for than those that were measured
    if size_fixed_by == "file" and figures is not None:
        return figures.where(lambda row: math.isclose(row.input_scale, 1))
    return figures


def _described(tiles_xyxy: np.ndarray, with_whole: bool) -> str:
    width, height = (tiles_xyxy[0, 2:] - tiles_xyxy[0, :2]).tolist()
    besides = " and the whole frame" if with_whole else ""
    return f"{len(tiles_xyxy)} tiles of {width}x{height} pixels{besides}"


def _check(tile: str | tuple[int, int], overlap: float) -> None:
    if not 0 <= overlap <= 0.9:
        raise ConfigError(
            f"the overlap of tiles is {overlap}; expected a share of the tile, 0 to 0.9"
        )
    if tile not in ("auto", "off") and (isinstance(tile, str) or len(tile) != 2 or min(tile) < 1):
        raise ConfigError(
            f"the tile is {tile!r}; expected auto, off, or width and height in pixels"
        )


def _whole(reason: str, input_hw: tuple[int, int], at: str = "") -> TilePlan:
    none = np.empty((0, 4), dtype=np.int64)
    return TilePlan(none, True, (0, 0), f"the whole frame{at}: {reason}", input_hw)


def _judge(
    image_wh: tuple[int, int],
    input_hw: tuple[int, int],
    objects: ObjectSizes | None,
    figures: PlanFigures | None,
    grows_by: int | None,
    *,
    fixed_by: str,
) -> TilePlan | str:
    """Return the plan where ``auto`` takes the whole frame, or why it takes tiles. ``grows_by`` is
    the stride where the input may be larger, ``fixed_by`` says why it may not.
    """
    shrinking = _shrinking(image_wh, input_hw)
    frame = f"{image_wh[0]}x{image_wh[1]} pixels"
    into = f"the network's input of {input_hw[1]}x{input_hw[0]}"
    if shrinking <= 1:
        return _whole(f"its {frame} fit into {into}", input_hw)
    if shrinking <= HARMLESS_SHRINKING:
        return _whole(f"{frame} are shrunk only {shrinking:.2f} times to fit into {into}", input_hw)
    reason = f"{frame} would be shrunk {shrinking:.1f} times to fit into {into}{fixed_by}"
    if objects is not None:
        reason += (
            f"; objects like those it was trained on, {objects.source_median:.0f} pixels in the "
            f"median, would have {objects.source_median / shrinking:.0f} pixels"
        )
    if _large_enough(objects, shrinking):
        return _whole(f"{reason}, which is large enough", input_hw)
    largest, accepted, by_figures = float(LARGEST_INPUT), ACCEPTED_SHRINKING, ""
    if figures is not None:
        best, among = figures.best, " among the plans that the file can run" if fixed_by else ""
        by_figures = f"; the figures that the weights carry recommend it{among}"
        largest, accepted = best.input_scale, max(accepted, best.shrinking)
        if best.tiles:
            return reason + by_figures
    scale = min(shrinking, largest)
    if grows_by or scale <= 1:
        height, width = input_hw
        if grows_by and scale > 1:
            height, width = (scaled_side(side, scale, grows_by) for side in input_hw)
        left = _shrinking(image_wh, (height, width))
        if left <= accepted or _large_enough(objects, left):
            scaling = f"shrunk {left:.1f} times" if left > 1 else "not shrunk"
            at = f" at a larger input of {width}x{height}, {scaling}" if scale > 1 else ""
            return _whole(reason + by_figures, (height, width), at)
    return reason


def _shrinking(image_wh: tuple[int, int], input_hw: tuple[int, int]) -> float:
    """Return how many times an image is shrunk to fit into an input; below 1 where it is not."""
    return max(image_wh[0] / input_hw[1], image_wh[1] / input_hw[0])


def _is_turned(image_wh: tuple[int, int], input_hw: tuple[int, int]) -> bool:
    """Say whether one of image and input is upright and the other lies."""
    return (image_wh[0] - image_wh[1]) * (input_hw[1] - input_hw[0]) < 0


def _large_enough(objects: ObjectSizes | None, shrinking: float) -> bool:
    return objects is not None and objects.source_median / shrinking >= max(
        SMALL_PX, objects.input_tenth
    )


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
