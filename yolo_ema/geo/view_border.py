"""What a camera sees of the ground: the border of its frame, carried there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.footprint import COVERAGE_DEPRESSION_DEG
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.ground import Ground
from yolo_ema.geo.sightings import Usable, views_of

Array = NDArray[np.float64]

_POINTS_PER_EDGE = 8


def view_border(usable: Usable, ground: Ground) -> Array:
    """Return (n, 2): longitudes and latitudes of a view's border on the ground, clockwise from the
    frame's upper left corner; none where it sees no ground.

    What lies less than 10° below the horizon ends at that angle.

    Args:
        usable: pose, height and camera, of `view_of`.
        ground: what is seen.
    """
    pose, _, camera = usable
    rays = camera.to_rays(_border() * (camera.width_px, camera.height_px))
    rays = rays[np.isfinite(rays).all(axis=1)]
    views = views_of([usable] * len(rays))
    directions = views.directions(rays)
    flat = np.hypot(directions[:, 0], directions[:, 1])
    lowest = -flat * np.tan(np.radians(COVERAGE_DEPRESSION_DEG))
    if not (directions[:, 2] < lowest).any():
        return np.zeros((0, 2))
    directions[:, 2] = np.minimum(directions[:, 2], lowest)
    offsets = ground.hits(views, directions).offsets_en
    offsets = offsets[np.isfinite(offsets).all(axis=1)]
    latitudes, longitudes = LocalFrame(pose.latitude_deg, pose.longitude_deg).to_degrees(offsets)
    return np.column_stack([longitudes, latitudes])


def _border() -> Array:
    """Return (n, 2): points of the border of a unit square, clockwise from 0, 0, y down."""
    along = np.arange(_POINTS_PER_EDGE) / _POINTS_PER_EDGE
    zero = np.zeros_like(along)
    sides = ((along, zero), (zero + 1, along), (1 - along, zero + 1), (zero, 1 - along))
    return np.concatenate([np.column_stack(side) for side in sides])
