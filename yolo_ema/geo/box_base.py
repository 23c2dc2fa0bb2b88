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

from yolo_ema.geo.edge_planes import between_edges
from yolo_ema.geo.ground import Ground
from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.views import Views

Array = NDArray[np.float64]

_LEAST_HALF_PX = 0.5
_UNKNOWN = 0.25
_LOWEST_UNCERTAIN, _STRAIGHT_DOWN = 45.0, 90.0


class Bases(NamedTuple):
    """The pixels that stand for the ground, and by what they are off.

    Attributes:
        pixels_xy: (n, 2).
        covariances: (n, 2, 2) by the box alone.
        by_height: (n, 2) how they move with the height of the object, pixels a metre.
        heights_m: (n, 2) what that is taken to be, and its standard deviation.
        by_shape: (n, 2, 2) how far they are off by the object's shape, see `BetweenEdges`.
    """

    pixels_xy: Array
    covariances: Array
    by_height: Array
    heights_m: Array
    by_shape: Array

    @classmethod
    def of_pixels(cls, pixels_xy: Array, covariances: Array) -> Bases:
        """Return pixels (n, 2) with covariances (n, 2, 2) that depend on no object."""
        nothing = np.zeros_like(pixels_xy)
        return cls(pixels_xy, covariances, nothing, nothing, np.zeros_like(covariances))


def bases_of(
    boxes_xyxy: Array,
    views: Views,
    lenses: Lenses,
    ground: Ground,
    *,
    sizes: Array,
    base: str = "auto",
    box_sigma_px: float = 2.0,
) -> Bases:
    """Return where boxes stand.

    Args:
        boxes_xyxy: (n, 4) pixels.
        views: the cameras' poses.
        lenses: the cameras.
        ground: what the objects stand on.
        sizes: (n, 5) of the objects, see `BodySize`; NaN where unknown.
        base: ``auto``, or the point to take of every box, ``bottom`` or ``centre``.
        box_sigma_px: standard deviation of that point in each direction, pixels.
    """
    middle = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    half = np.maximum((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2, _LEAST_HALF_PX)
    bottom = np.column_stack([middle[:, 0], boxes_xyxy[:, 3]])
    noise = np.tile(np.eye(2) * box_sigma_px**2, (len(middle), 1, 1))
    if base != "auto":
        return Bases.of_pixels(bottom if base == "bottom" else middle, noise)
    hits = ground.hits(views, views.directions(lenses.to_rays(bottom)))
    boxes = np.column_stack([middle - half, middle + half])
    known = np.asarray(np.isfinite(sizes).all(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        offsets, doubts = _by_edges(boxes, views, lenses, sizes, hits.drop_m)
        below = _oblique(views.directions(lenses.to_rays(middle)))[:, None] * (bottom - middle)
        offsets = np.where(known[:, None], offsets, below)
        doubts[~known] = _UNKNOWN * below[~known, None] * [[0], [1], [0]]
    # No ground was met, or the box looks over it: what follows says why.
    finite = np.isfinite(offsets).all(axis=1) & np.isfinite(doubts).all(axis=(1, 2))
    usable = np.asarray((hits.reasons == "") & finite)
    offsets[~usable], doubts[~usable] = (bottom - middle)[~usable], 0
    by_height, by_shape = doubts[:, 0], np.clip(doubts[:, 1:], -half[:, None], half[:, None])
    heights_m = np.where(known[:, None], sizes[:, :2], 0)
    return Bases(middle + offsets, noise, by_height, heights_m, by_shape)


def _by_edges(
    boxes_xyxy: Array, views: Views, lenses: Lenses, sizes: Array, drop_m: Array
) -> tuple[Array, Array]:
    """Return the ways (n, 2) from the middles of boxes to their bases, pixels, and how these move
    (n, 3, 2) with the height, a metre, and with the shape.
    """
    bases = between_edges(boxes_xyxy, views, lenses, sizes, drop_m)
    shifts = [np.zeros_like(bases.places), bases.by_height, *np.moveaxis(bases.by_shape, 1, 0)]
    pixels = [
        lenses.to_pixels(views.rays_to(np.column_stack([bases.places + shift, -drop_m])))
        for shift in shifts
    ]
    middle = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return pixels[0] - middle, np.stack([moved - pixels[0] for moved in pixels[1:]], axis=1)


def _oblique(directions: Array) -> Array:
    """Return for directions (n, 3) 1 up to 45 degrees below the horizon, 0 straight down, a smooth
    step between.
    """
    below_deg = np.degrees(np.arctan2(-directions[:, 2], np.hypot(*directions[:, :2].T)))
    step = np.clip((below_deg - _LOWEST_UNCERTAIN) / (_STRAIGHT_DOWN - _LOWEST_UNCERTAIN), 0, 1)
    return np.asarray(1 - step * step * (3 - 2 * step))
