"""Training settings for drone footage that Ultralytics does not have; masking alone is on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from yolo_ema.options.fields import Options, option

AUGMENTATIONS = ("motion_blur", "haze", "low_light", "noise", "compression", "quarter_turns")
DRONE = "drone footage"
"""Heading of these options."""

_LEAST_TILE_PX = 64
_drone_option = partial(option, group=DRONE)


@dataclass(frozen=True, kw_only=True)
class DroneOptions(Options):
    """Settings of the dataset and the loss for small, dense objects and ignored regions."""

    GROUPS: ClassVar[tuple[str, ...]] = (DRONE,)

    mask_ignored: bool = _drone_option(
        True, help="leave unassigned anchors inside ignored regions out of the loss"
    )
    strict_labels: bool = _drone_option(
        False,
        help="refuse a dataset with bad label rows or damaged images instead of skipping those",
    )
    augment: tuple[str, ...] = _drone_option(
        (), choices=AUGMENTATIONS, help="augmentations for drone footage, separated by commas"
    )
    train_tiles: str = _drone_option(
        "off",
        metavar="WxH",
        joined_by="x",
        help="train on tiles at native resolution: their width and height in pixels, as in "
        "640x640, or off",
    )
    tile_overlap: float = _drone_option(
        0.2,
        help="overlap of neighbouring training tiles as a share of the tile, 0 to 0.9",
        at_least=0,
        at_most=0.9,
    )
    tile_whole: int = _drone_option(
        0,
        metavar="N",
        help="with --train-tiles: show each image whole, too, N times an epoch",
        at_least=0,
        at_most=100,
    )
    paste_boxes: float = _drone_option(
        0.0,
        help="probability, 0 to 1, of pasting copies of labelled small objects into an image",
        at_least=0,
        at_most=1,
    )
    nwd: float = _drone_option(
        0.0,
        help="share, 0 to 1, of normalised Wasserstein distance instead of IoU in assignment and "
        "box loss",
        at_least=0,
        at_most=1,
    )

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the tiles."""
        if self.train_tiles != "off" and self.tile_wh is None:
            yield (
                f"--train-tiles is {self.train_tiles!r}; expected off or WIDTHxHEIGHT in pixels, "
                f"at least {_LEAST_TILE_PX}x{_LEAST_TILE_PX}, as in 640x640"
            )
        if self.tile_whole and self.train_tiles == "off":
            yield (
                f"--tile-whole is {self.tile_whole}, but without --train-tiles every image is whole"
            )

    @property
    def tile_wh(self) -> tuple[int, int] | None:
        """Return the training tile's width and height in pixels; None without tiles."""
        match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", self.train_tiles, re.ASCII)
        size_wh = (int(match[1]), int(match[2])) if match else (0, 0)
        return size_wh if min(size_wh) >= _LEAST_TILE_PX else None
