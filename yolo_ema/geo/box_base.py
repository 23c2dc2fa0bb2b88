"""Which pixel of a box stands for the ground below its object.

Where the height of the class is known, it is below the middle of a body that the planes through
the camera and the box's edges touch, see `edge_planes`: from straight above that is near the
middle of the box, in a flat view its lower edge. Where it is not known, the lower edge is taken up
to 45 degrees below the horizon, the middle from straight above, and a smooth step of the angle
between.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.edge_planes import HEIGHT_DEVIATION, places_between_edges
from yolo_ema.geo.ground import Ground
from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.views import Views

__all__ = ["BASES", "CLASS_SPANS_M", "Bases", "bases_of"]

Array = NDArray[np.float64]

BASES = ("auto", "bottom", "centre")

CLASS_SPANS_M: dict[str, tuple[float, float]] = {
    "pedestrian": (0.0, 1.7),
    "people": (0.2, 1.55),
    "person": (0.0, 1.7),
    "bicycle": (0.0, 1.1),
    "car": (0.0, 1.1),
    "van": (0.0, 1.9),
    "truck": (0.0, 3.1),
    "tricycle": (0.0, 1.2),
    "awning-tricycle": (0.0, 2.0),
    "bus": (0.0, 2.9),
    "motor": (0.0, 0.9),
    "motorcycle": (0.0, 0.9),
}
"""Metres above the ground between which objects shape their box, by class. A car's bonnet and boot
are lower than its roof, so that it counts for less; people sit, some on what they ride.
"""

_LEAST_HALF_PX = 0.5
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
    spans_m: Array,
    base: str = "auto",
    box_sigma_px: float = 2.0,
) -> Bases:
    """Return where boxes stand.

    Args:
        boxes_xyxy: (n, 4) pixels.
        views: the cameras' poses.
        lenses: the cameras.
        ground: what the objects stand on.
        spans_m: (n, 2) heights above the ground of their lowest and highest points; NaN where
            unknown.
        base: one of `BASES`; ``bottom`` and ``centre`` take that point of every box.
        box_sigma_px: standard deviation of that point in each direction, pixels.
    """
    middle = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    half = np.maximum((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2, _LEAST_HALF_PX)
    bottom = np.column_stack([middle[:, 0], boxes_xyxy[:, 3]])
    boxes = np.column_stack([middle - half, middle + half])
    noise = np.tile(np.eye(2) * box_sigma_px**2, (len(middle), 1, 1))
    if base != "auto":
        return Bases(bottom if base == "bottom" else middle, noise)
    hits = ground.hits(views, views.directions(lenses.to_rays(bottom)))
    known = np.asarray(np.isfinite(spans_m).all(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        away, doubts = _by_edges(boxes, views, lenses, spans_m, hits.drop_m)
        below = _oblique(views.directions(lenses.to_rays(middle)))[:, None] * (bottom - middle)
        away = np.where(known[:, None], away, below)
        doubts[~known] = HEIGHT_DEVIATION * below[~known, None] * [[1], [0], [0]]
    # No ground was met, or the box looks over it: what follows says why.
    finite = np.isfinite(away).all(axis=1) & np.isfinite(doubts).all(axis=(1, 2))
    usable = np.asarray((hits.reasons == "") & finite)
    away[~usable], doubts[~usable] = (bottom - middle)[~usable], 0
    doubts = np.clip(doubts, -half[:, None], half[:, None])
    return Bases(middle + away, noise + np.einsum("nki,nkj->nij", doubts, doubts))


def _by_edges(
    boxes_xyxy: Array, views: Views, lenses: Lenses, spans_m: Array, drop_m: Array
) -> tuple[Array, Array]:
    """Return the ways (n, 2) from the middles of boxes to their bases, pixels, and by how much
    these may be off (n, 3, 2), see `places_between_edges`.
    """
    found = places_between_edges(boxes_xyxy, views, lenses, spans_m, drop_m)
    places = np.concatenate([found[:, :1], found[:, :1] + found[:, 1:]], axis=1)
    pixels = [
        lenses.to_pixels(views.rays_to(np.column_stack([places[:, at], -drop_m])))
        for at in range(places.shape[1])
    ]
    middle = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return pixels[0] - middle, np.stack([one - pixels[0] for one in pixels[1:]], axis=1)


def _oblique(directions: Array) -> Array:
    """Return for directions (n, 3) 1 up to 45 degrees below the horizon, 0 straight down, a smooth
    step between.
    """
    below_deg = np.degrees(np.arctan2(-directions[:, 2], np.hypot(*directions[:, :2].T)))
    step = np.clip((below_deg - _LOWEST_UNCERTAIN) / (_STRAIGHT_DOWN - _LOWEST_UNCERTAIN), 0, 1)
    return np.asarray(1 - step * step * (3 - 2 * step))
