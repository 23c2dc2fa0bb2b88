"""What drone footage adds to Ultralytics' training settings; all of it is off by default but the
masking of ignored regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from yolo_ema.options.fields import Options, option

__all__ = ["AUGMENTATIONS", "DroneOptions"]

AUGMENTATIONS = ("motion_blur", "haze", "low_light", "noise", "compression", "quarter_turns")


@dataclass(frozen=True, kw_only=True)
class DroneOptions(Options):
    """Settings of the dataset and the loss that Ultralytics does not have."""

    mask_ignored: bool = option(
        True, help="leave unassigned anchors inside ignored regions out of the loss"
    )
    strict_labels: bool = option(
        False,
        help="refuse a dataset with bad label rows or damaged images, instead of leaving those out",
    )
    augment: tuple[str, ...] = option(
        (), choices=AUGMENTATIONS, help="augmentations for drone footage, separated by commas"
    )
    train_tiles: str = option(
        "off",
        metavar="WxH",
        help="train on tiles at native resolution: off, or their width and height in pixels, as in "
        "640x640",
    )
    tile_overlap: float = option(
        0.2, help="overlap of neighbouring training tiles, as a share of the tile from 0 to 0.9"
    )
    paste_boxes: float = option(
        0.0, help="probability, 0 to 1, of pasting copies of labelled small objects into an image"
    )
    nwd: float = option(
        0.0,
        help="share, 0 to 1, of normalised Wasserstein distance in place of IoU in assignment and "
        "box loss",
    )

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name, low, high in (
            ("tile_overlap", 0.0, 0.9),
            ("paste_boxes", 0.0, 1.0),
            ("nwd", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                yield f"--{name.replace('_', '-')} is {value}; expected {low} to {high}"
        if self.train_tiles != "off" and self.tile_wh is None:
            yield (
                f"--train-tiles is {self.train_tiles!r}; expected off or WIDTHxHEIGHT in "
                f"pixels, "
                f"at least 64x64, as in 640x640"
            )

    @property
    def tile_wh(self) -> tuple[int, int] | None:
        """Return the training tile's width and height in pixels, or None where tiles are off."""
        width, x, height = self.train_tiles.partition("x")
        if (
            not (x and width.isdecimal() and height.isdecimal())
            or min(int(width), int(height)) < 64
        ):
            return None
        return int(width), int(height)
