"""Where an upright body stands, by the four edges of its box.

Each edge spans a plane with the camera, which touches the body: an edge whose outside looks down
touches it on the ground, one whose outside looks up at its top. The middle of a body that reaches
as far to one side as to the other lies halfway between the planes of opposite edges. That is exact
in perspective, for a block that stands askew but for the angle between the two planes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.views import Views

__all__ = ["HEIGHT_DEVIATION", "places_between_edges"]

Array = NDArray[np.float64]

HEIGHT_DEVIATION = 0.25
"""Standard deviation of a height, as a share of it."""

_LOPSIDED = 0.08
_ASKEW = 0.5


def places_between_edges(
    boxes_xyxy: Array, views: Views, lenses: Lenses, spans_m: Array, drop_m: Array
) -> Array:
    """Return (n, 4, 2), metres east and north of the camera: where boxes (n, 4) stand, then how far
    that may be off, one standard deviation each: by the height, and by the body's shape in depth
    and in breadth. Not finite where the edges leave it open.

    Args:
        boxes_xyxy: pixels, wider and higher than 0.
        views: the cameras' poses.
        lenses: the cameras.
        spans_m: (n, 2) heights above the ground of the bodies' lowest and highest points.
        drop_m: (n,) from the camera down to the ground that they stand on.
    """
    normals = _edge_planes(boxes_xyxy, views, lenses)
    level, rise = normals[..., :2], normals[..., 2]
    touches = np.where(rise > 0, spans_m[:, 1:], spans_m[:, :1])
    # For each edge: level · place + reach = offset. The reaches of opposite edges are the same.
    offsets = rise * (drop_m[:, None] - touches)
    halfway = _inverse(level[:, :2] - level[:, 2:])
    place = np.einsum("nij,nj->ni", halfway, offsets[:, :2] - offsets[:, 2:])
    by_height = HEIGHT_DEVIATION * spans_m[:, 1:] * -np.maximum(rise, 0)
    moved = np.einsum("nij,nj->ni", halfway, by_height[:, :2] - by_height[:, 2:])
    reaches = offsets - np.einsum("nij,nj->ni", level, place)
    by_shape = halfway * _reaches_differ(level, reaches)[:, None]
    # A box too low for such a height: its object stands at the lower edge, if not beyond it.
    closer = np.maximum(reaches[:, 2] / np.einsum("ni,ni->n", level[:, 2], halfway[..., 0]), 0)
    place += halfway[..., 0] * closer[:, None]
    place[(level[:, 0] * level[:, 2]).sum(axis=1) >= 0] = np.nan  # it reaches over the horizon
    return np.concatenate([np.stack([place, moved], axis=1), np.swapaxes(by_shape, 1, 2)], axis=1)


def _reaches_differ(level: Array, reaches: Array) -> Array:
    """Return (n, 2): by how many metres the reaches of opposite edges may differ, in depth and in
    breadth: bodies narrow to one end, and where they stand askew, the planes of two opposite edges
    that are not parallel touch them at unlike places.
    """
    reach = np.abs(reaches[:, :2] + reaches[:, 2:]) / 2
    first, second = level[:, :2], level[:, 2:]
    turned = np.abs(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])
    askew = _ASKEW * turned * reach.min(axis=1, keepdims=True)
    return np.hypot(2 * _LOPSIDED * reach, askew)


def _edge_planes(boxes_xyxy: Array, views: Views, lenses: Lenses) -> Array:
    """Return (n, 4, 3): normals, outwards, of the planes through the camera and the upper, right,
    lower and left edge; their level parts have length 1.
    """
    x1, y1, x2, y2 = boxes_xyxy.T
    corners = np.stack(
        [
            views.directions(lenses.to_rays(np.column_stack(corner)))
            for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        ],
        axis=1,
    )
    normals = np.cross(np.roll(corners, -1, axis=1), corners)
    return normals / np.hypot(normals[..., 0], normals[..., 1])[..., None]


def _inverse(matrices: Array) -> Array:
    """Return the inverses of matrices (n, 2, 2), not finite where there is none."""
    (a, b), (c, d) = np.moveaxis(matrices, 0, 2)
    return np.moveaxis(np.array([[d, -b], [-c, a]]) / (a * d - b * c), 2, 0)
