"""Tiles of large images: numpy in, numpy out."""

from __future__ import annotations

from yolo_ema.tiling.grid import tile_grid

__all__ = ["tile_grid"]
