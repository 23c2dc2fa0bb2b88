"""Which pixel of a box stands for the ground below its object.

The middle of a box shows the middle of its object, half its height above the ground. The line of
view through it, down to that height, then straight down, ends on the ground below the object's
middle: from straight above that is the middle of the box, in a flat view its lower edge, and the
way between the two is smooth. For this the height of the class must be known; where it is not,
the lower edge is taken up to 45 degrees below the horizon, the middle from straight above, and a
smooth step of the angle between.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.ground import Ground
from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.views import Views

__all__ = ["BASES", "CLASS_HEIGHTS_M", "Bases", "bases_of"]

Array = NDArray[np.float64]

BASES = ("auto", "bottom", "centre")

CLASS_HEIGHTS_M: dict[str, float] = {
    "pedestrian": 1.7,
    "people": 1.7,
    "person": 1.7,
    "bicycle": 1.1,
    "car": 1.1,
    "van": 1.9,
    "truck": 3.0,
    "tricycle": 1.2,
    "awning-tricycle": 2.0,
    "bus": 2.9,
    "motor": 0.9,
    "motorcycle": 0.9,
}
"""Heights of objects in metres by class: those that shape a box. A car's bonnet and boot are lower
than its roof, so that it counts for less; someone who sits counts from the ground up.
"""

_HEIGHT_DEVIATION = 0.25
_LOWEST_UNCERTAIN, _STRAIGHT_DOWN = 45.0, 90.0


class Bases(NamedTuple):
    """The pixels (n, 2) that stand for the ground, and their covariances (n, 2, 2)."""

    pixels_xy: Array
    covariances: Array


def bases_of(
    boxes_xyxy: Array,
    views: Views,
    lenses: Lenses,
    ground: Ground,
    *,
    heights_m: Array,
    base: str = "auto",
    box_sigma_px: float = 2.0,
) -> Bases:
    """Return where boxes stand.

    Args:
        boxes_xyxy: (n, 4) pixels.
        views: the cameras' poses.
        lenses: the cameras.
        ground: what the objects stand on.
        heights_m: (n,) of the objects; NaN where unknown.
        base: one of `BASES`; ``bottom`` and ``centre`` take that point of every box.
        box_sigma_px: standard deviation of that point in each direction, pixels.
    """
    middle = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    bottom = np.column_stack([middle[:, 0], boxes_xyxy[:, 3]])
    noise = np.tile(np.eye(2) * box_sigma_px**2, (len(middle), 1, 1))
    if base != "auto":
        return Bases(bottom if base == "bottom" else middle, noise)
    hits = ground.hits(views, views.directions(lenses.to_rays(bottom)))
    directions = views.directions(lenses.to_rays(middle))
    fall = -directions[:, 2]
    known = np.isfinite(heights_m)
    half_m = np.where(known, heights_m / 2, hits.drop_m * 1e-3)
    with np.errstate(invalid="ignore", divide="ignore"):
        stretch = (hits.drop_m - half_m) / fall
        foot = np.column_stack([directions[:, :2] * stretch[:, None], -hits.drop_m])
        away = lenses.to_pixels(views.rays_to(foot)) - middle
        to_edge = _share_to_edge(away, boxes_xyxy)
        below = np.degrees(np.arctan2(fall, np.hypot(*directions[:, :2].T)))
        share = np.where(known, np.minimum(1, to_edge), to_edge * _oblique(below))
        away = away * share[:, None]
    # No ground was met, or the middle of the box looks over it: what follows says why.
    usable = (hits.reasons == "") & (fall > 0) & (stretch > 0) & np.isfinite(away).all(axis=1)
    away = np.where(usable[:, None], away, bottom - middle)
    noise += _HEIGHT_DEVIATION**2 * away[:, :, None] * away[:, None, :]
    return Bases(middle + away, noise)


def _share_to_edge(away: Array, boxes_xyxy: Array) -> Array:
    """Return by how much to stretch ways (n, 2) from the middle so that they end on the box's
    edge.
    """
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2
    length = np.abs(away)
    shares = np.where(length > 1e-9, half / np.maximum(length, 1e-9), 1e9)
    return shares.min(axis=1)


def _oblique(below_deg: Array) -> Array:
    """Return 1 up to 45 degrees below the horizon, 0 straight down, a smooth step between."""
    step = np.clip((below_deg - _LOWEST_UNCERTAIN) / (_STRAIGHT_DOWN - _LOWEST_UNCERTAIN), 0, 1)
    return 1 - step * step * (3 - 2 * step)
