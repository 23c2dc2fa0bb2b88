"""Where an upright body stands, by the four edges of its box.

Each edge spans a plane with the camera, which touches the body: an edge whose outside looks down
touches it at its foot, one whose outside looks up at its top. The middle of a body that reaches
as far to one side as to the other lies halfway between the planes of opposite edges. That is exact
in perspective, for a block that stands askew but for the angle between the two planes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.class_sizes import BodySize
from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.views import Views

Array = NDArray[np.float64]

_ASKEW = 0.5


class BetweenEdges(NamedTuple):
    """Where n bodies stand, metres east and north of the camera; not finite where their edges leave
    it open.

    Attributes:
        places: (n, 2) if they are as high as they are said to be.
        by_height: (n, 2) how that moves with the height, metres a metre.
        by_shape: (n, 2, 2) how far it may be off, away from the camera and to the right, by what
            bodies reach farther to one side than to the other: the rows, a standard deviation each.
    """

    places: Array
    by_height: Array
    by_shape: Array


def between_edges(
    boxes_xyxy: Array, views: Views, lenses: Lenses, sizes: Array, drop_m: Array
) -> BetweenEdges:
    """Return where the bodies in boxes stand.

    Args:
        boxes_xyxy: (n, 4) pixels, wider and higher than 0.
        views: the cameras' poses.
        lenses: the cameras.
        sizes: (n, 5) of the bodies, see `BodySize`.
        drop_m: (n,) from the camera down to the ground that they stand on.
    """
    body = BodySize(*(column[:, None] for column in sizes.T))
    normals = _edge_planes(boxes_xyxy, views, lenses)
    level, rise = normals[..., :2], normals[..., 2]
    # For each edge: level · place + reach = offset. The reaches of opposite edges are the same.
    offsets = rise * (drop_m[:, None] - np.where(rise > 0, body.high_m, body.low_m))
    by_height = -rise * np.where(rise > 0, 1, body.floats)
    halfway = _inverse(level[:, :2] - level[:, 2:])
    place = np.einsum("nij,nj->ni", halfway, offsets[:, :2] - offsets[:, 2:])
    moved = np.einsum("nij,nj->ni", halfway, by_height[:, :2] - by_height[:, 2:])
    reaches = offsets - np.einsum("nij,nj->ni", level, place)
    by_shape = halfway * np.hypot(body.uneven_m, _askew(level, reaches))[:, None]
    # A box too low for such a height: its object stands at the lower edge, if not beyond it.
    closer = np.maximum(reaches[:, 2] / np.einsum("ni,ni->n", level[:, 2], halfway[..., 0]), 0)
    place += halfway[..., 0] * closer[:, None]
    place[(level[:, 0] * level[:, 2]).sum(axis=1) >= 0] = np.nan  # it reaches over the horizon
    return BetweenEdges(place, moved, np.swapaxes(by_shape, 1, 2))


def _askew(level: Array, reaches: Array) -> Array:
    """Return (n, 2): by how many metres the reaches of opposite edges may differ where a body
    stands askew: planes that are not parallel touch it at unlike places.
    """
    reach = np.abs(reaches[:, :2] + reaches[:, 2:]) / 2
    first, second = level[:, :2], level[:, 2:]
    turned = np.abs(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])
    return np.asarray(_ASKEW * turned * reach.min(axis=1, keepdims=True))


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
