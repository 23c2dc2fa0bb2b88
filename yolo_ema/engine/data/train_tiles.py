"""Training on tiles at native resolution.

Each image becomes as many samples as `tile_grid` lays tiles over it. Nothing is written: a tile is
cut from its image when it is read. In memory and on disk (``cache=ram``, ``cache=disk``) it is the
tiles that are kept.

A label on a tile's border is kept, clipped, where at least `KEPT_SHARE` of its area lies inside the
tile. Below that the visible part is too little to tell what it is, but not background either: it
becomes an ignored region of that tile. Another tile shows the label in full, as long as the overlap
is at least the label's longer side. A tile that one ignored region covers and that holds no label
has nothing to teach, and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_ema.boxes import box_areas
from yolo_ema.inference.suppression import centers_to_corners
from yolo_ema.tiling.grid import tile_grid

KEPT_SHARE = 0.5
"""Share of a label's area that a tile must show for the label to be kept in it."""

# Labels are shares of the image in single precision: a border that touches a tile's may seem to lie
# a hair inside it.
_SLACK = 1e-5
_SLIVER_PX = 0.01


def cut_into_tiles(
    labels: Sequence[dict[str, Any]],
    tile_wh: tuple[int, int],
    overlap: float,
    classes: Sequence[int] | int | None = None,
) -> list[dict[str, Any]]:
    """Return the labels of all tiles of all images, in order of image and tile.

    Args:
        labels: per image ``shape`` (height, width), ``cls`` (N, 1), ``bboxes`` (N, 4) and
            ``ignored`` (R, 4), both as shares of the image, x_center y_center w h.
        tile_wh: the tile's width and height in pixels.
        overlap: minimum overlap of neighbours as a share of the tile, below 1.
        classes: those to train on, or all. Objects of others are background, cut ones, too, and
            keep no tile.

    Returns:
        The same per tile, as shares of the tile, with ``tile_xyxy`` in pixels of the image.
            Polygons are dropped: boxes remain.
    """
    overlap_px = (int(tile_wh[0] * overlap), int(tile_wh[1] * overlap))
    tiles = []
    for label in labels:
        height, width = label["shape"]
        size = np.array([width, height, width, height], dtype=np.float64)
        boxes, regions = _corners(label["bboxes"], size), _corners(label["ignored"], size)
        numbers = label["cls"]
        if classes is not None:
            chosen = np.isin(numbers.reshape(-1), classes)
            boxes, numbers = boxes[chosen], numbers[chosen]
        for tile in tile_grid((width, height), tile_wh, overlap_px):
            cut = _cut(numbers, boxes, regions, tile)
            if cut is not None:
                tiles.append({**label, **cut})
    return tiles


def _cut(
    classes: np.ndarray, boxes: np.ndarray, regions: np.ndarray, tile: np.ndarray
) -> dict[str, Any] | None:
    """Return what a tile shows of labels and regions; None where it has nothing to teach."""
    seen, seen_regions = (
        np.clip(corners, np.tile(tile[:2], 2), np.tile(tile[2:], 2)) for corners in (boxes, regions)
    )
    kept = box_areas(seen) >= KEPT_SHARE * (1 - _SLACK) * np.maximum(box_areas(boxes), _SLACK)
    if not kept.any() and (box_areas(seen_regions) >= (1 - _SLACK) * box_areas(tile[None])).any():
        return None
    ignored = np.concatenate((seen_regions, seen[~kept]))
    ignored = ignored[(ignored[:, 2:] - ignored[:, :2] > _SLIVER_PX).all(1)]
    return {
        "cls": classes[kept],
        "bboxes": _shares(seen[kept], tile),
        "ignored": _shares(ignored, tile),
        "segments": [],
        "shape": (int(tile[3] - tile[1]), int(tile[2] - tile[0])),
        "tile_xyxy": tuple(tile.tolist()),
    }


def _corners(shares_xywh: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return boxes in pixels, x1 y1 x2 y2, clipped to the image."""
    return np.clip(centers_to_corners(shares_xywh.astype(np.float64) * size), 0, size)


def _shares(boxes: np.ndarray, tile: np.ndarray) -> np.ndarray:
    """Return boxes inside a tile as x_center y_center w h, shares of the tile, float32."""
    moved = boxes - np.tile(tile[:2], 2)
    xywh = np.concatenate(((moved[:, :2] + moved[:, 2:]) / 2, moved[:, 2:] - moved[:, :2]), axis=1)
    return (xywh / np.tile(tile[2:] - tile[:2], 2)).astype(np.float32)
