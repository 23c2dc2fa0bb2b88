"""From boxes in images to places on the ground, each with its covariance or the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.box_base import Bases, bases_of
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.geodesic import geodesic_forward
from yolo_ema.geo.ground import Ground
from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.uncertainty import Ellipse, PoseSigmas, changes_on_ground, ellipse_of
from yolo_ema.geo.views import Views

Array = NDArray[np.float64]

MAX_ERROR_M = 25.0
"""Longest half axis of an error ellipse, 95 %, up to which something is placed."""


@dataclass(frozen=True)
class Placed:
    """Places of n pixels on the ground; NaN where there is a reason.

    Attributes:
        latitude_deg, longitude_deg: (n,) WGS 84.
        ground_m: (n,) height of the ground there, in the heights of the cameras.
        pixels_xy: (n, 2) what was placed.
        covariances: (n, 2, 2) of metres east and north.
        box_covariances: (n, 2, 2) the part of the box, its object apart.
        by_height: (n, 2) how the place moves with the height of the object, metres a metre.
        heights_m: (n, 2) what that is taken to be, and its standard deviation.
        by_shape: (n, 2, 2) how far the place is off by the shape, see `BetweenEdges`.
        pose_changes: (n, 2, 7) how the place moves with the pose, see `changes_on_ground`.
        gsd_m: (n,) metres on the ground a pixel, the mean of its two directions.
        reasons: (n,) codes of `REASONS`; "" where it is placed.
    """

    latitude_deg: Array
    longitude_deg: Array
    ground_m: Array
    pixels_xy: Array
    covariances: Array
    box_covariances: Array
    by_height: Array
    heights_m: Array
    by_shape: Array
    pose_changes: Array
    gsd_m: Array
    reasons: NDArray[np.str_]

    @property
    def ellipses(self) -> Ellipse:
        """The 95 % error ellipses."""
        return ellipse_of(self.covariances)


def place_boxes(
    boxes_xyxy: Array,
    views: Views,
    cameras: Sequence[CameraIntrinsics],
    ground: Ground,
    *,
    sigmas: PoseSigmas,
    sizes: Array,
    base: str = "auto",
    box_sigma_px: float = 2.0,
    max_error_m: float = MAX_ERROR_M,
) -> Placed:
    """Return where boxes stand on the ground.

    Args:
        boxes_xyxy: (n, 4) pixels.
        views: the poses of the frames that they are from.
        cameras: of the same frames, n.
        ground: what the objects stand on.
        sigmas: deviations of the poses.
        sizes: (n, 5) of the objects' classes, NaN where unknown; see `BodySize`.
        base: ``auto``, ``bottom`` or ``centre``.
        box_sigma_px: standard deviation of a box's base, pixels.
        max_error_m: longest half axis of an ellipse up to which something is placed.
    """
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
    bases = bases_of(
        boxes,
        views,
        Lenses(cameras),
        ground,
        sizes=np.asarray(sizes, float),
        base=base,
        box_sigma_px=box_sigma_px,
    )
    return place_bases(bases, views, cameras, ground, sigmas=sigmas, max_error_m=max_error_m)


def place_bases(
    bases: Bases,
    views: Views,
    cameras: Sequence[CameraIntrinsics],
    ground: Ground,
    *,
    sigmas: PoseSigmas,
    max_error_m: float = MAX_ERROR_M,
) -> Placed:
    """Return where the pixels lie that stand for boxes, see `place_boxes`."""
    lenses = Lenses(cameras)
    rays = lenses.to_rays(bases.pixels_xy)
    hits = ground.hits(views, views.directions(rays))
    with np.errstate(invalid="ignore", divide="ignore"):
        changes = changes_on_ground(views, lenses, rays, hits)
        pose, pixel = changes[:, :, :7], changes[:, :, 7:]
        box = pixel @ bases.covariances @ np.swapaxes(pixel, 1, 2)
        by_height = np.einsum("nij,nj->ni", pixel, bases.by_height)
        by_shape = np.einsum("nij,nkj->nki", pixel, bases.by_shape)
        roots = np.concatenate([(by_height * bases.heights_m[:, 1:])[:, None], by_shape], axis=1)
        covariances = (pose * sigmas.variances()) @ np.swapaxes(pose, 1, 2) + box
        covariances += np.swapaxes(roots, 1, 2) @ roots
        gsd = np.sqrt(np.abs(np.linalg.det(pixel)))
    reasons = hits.reasons.copy()
    # A slope may face away from the camera so far that errors have no bound.
    too_large = ~(ellipse_of(covariances).semi_major_m <= max_error_m)
    reasons[(reasons == "") & too_large] = "error_too_large"
    latitude, longitude = geodesic_forward(
        views.latitude_deg,
        views.longitude_deg,
        np.degrees(np.arctan2(hits.offsets_en[:, 0], hits.offsets_en[:, 1])),
        np.hypot(hits.offsets_en[:, 0], hits.offsets_en[:, 1]),
    )
    hit = reasons == ""
    return Placed(
        np.where(hit, latitude, np.nan),
        np.where(hit, longitude, np.nan),
        np.where(hit, views.height_m - hits.drop_m, np.nan),
        bases.pixels_xy,
        covariances,
        box,
        by_height,
        bases.heights_m,
        by_shape,
        pose,
        gsd,
        reasons,
    )
