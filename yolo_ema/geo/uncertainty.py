"""How surely a place is known: deviations of a pose and of a box, carried to the ground.

To first order, the error of a place is the sum of what each quantity's error moves it by. The
pose's part is kept apart from the box's: sightings of one flight share the first, and averaging
does not remove what they share.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import ConfigError
from yolo_ema.geo.ground import Hits
from yolo_ema.geo.lenses import Lenses
from yolo_ema.geo.views import Views

__all__ = [
    "CHI2_50",
    "CHI2_95",
    "CHI2_99",
    "SHARED",
    "SIGMAS",
    "Ellipse",
    "PoseSigmas",
    "changes_on_ground",
    "ellipse_of",
]

Array = NDArray[np.float64]

CHI2_95 = 5.991464547107979
"""Below this the chi-square of two degrees of freedom lies in 95 % of cases."""

CHI2_99 = 9.210340371976182
"""Below this it lies in 99 % of cases."""

CHI2_50 = 1.386294361119891
"""Below this it lies in half of all cases."""

SHARED = 0.5
"""Share of what poses of a flight have in common that does not fade, and of a box's variance that
is the same throughout a track.
"""


@dataclass(frozen=True)
class PoseSigmas:
    """Standard deviations of a pose.

    Attributes:
        position_m: of the position over the ground, in each of two directions.
        height_m: of the camera's height above the ground that is seen: barometer, and the ground's
            own unevenness.
        yaw_deg, pitch_deg, roll_deg: of the optical axis.
        hfov_deg: of the horizontal field of view.

    Examples:
        >>> from yolo_ema import PoseSigmas
        >>> PoseSigmas(yaw_deg=0.5).pitch_deg
        0.5
    """

    position_m: float = 1.5
    height_m: float = 2.0
    yaw_deg: float = 2.0
    pitch_deg: float = 0.5
    roll_deg: float = 0.5
    hfov_deg: float = 1.0

    def __post_init__(self) -> None:
        for name, value in zip(self.__dataclass_fields__, astuple(self), strict=True):
            if not 0 <= value < np.inf:
                raise ConfigError(f"the deviation {name} is {value:g}; expected 0 or more")

    def variances(self) -> Array:
        """Return (7,): of east, north, height (m²), yaw, pitch, roll and field of view (rad²)."""
        angles = np.radians([self.yaw_deg, self.pitch_deg, self.roll_deg, self.hfov_deg])
        return np.array([self.position_m, self.position_m, self.height_m, *angles]) ** 2


SIGMAS: dict[str, PoseSigmas] = {
    "srt": PoseSigmas(),
    "xmp": PoseSigmas(),
    "mavlink": PoseSigmas(yaw_deg=3.0, pitch_deg=1.0, roll_deg=1.0),
    "klv": PoseSigmas(position_m=3.0, height_m=4.0, yaw_deg=1.0),
    "odm": PoseSigmas(0.3, 0.3, 0.1, 0.1, 0.1, 0.1),
    "csv": PoseSigmas(),
}
"""Deviations that are assumed by the kind of telemetry where none are stated; others as ``srt``.

A drone's GNSS without corrections, its barometer over ground that is level to a metre or two, its
compass and its gimbal; ``odm`` are poses that a reconstruction has adjusted.
"""


class Ellipse(NamedTuple):
    """A 95 % error ellipse: half axes in metres; direction of the longer one, degrees clockwise
    from north, 0 to 180.
    """

    semi_major_m: Array
    semi_minor_m: Array
    azimuth_deg: Array


def ellipse_of(covariances: Array) -> Ellipse:
    """Return the 95 % ellipses of covariances (…, 2, 2) of metres east and north."""
    known = np.asarray(np.isfinite(covariances).all(axis=(-2, -1)))
    values, vectors = np.linalg.eigh(np.where(known[..., None, None], covariances, np.eye(2)))
    axes = np.sqrt(np.maximum(values, 0) * CHI2_95)
    east, north = vectors[..., 0, 1], vectors[..., 1, 1]
    azimuth = np.degrees(np.arctan2(east, north)) % 180
    return Ellipse(*(np.where(known, arr, np.nan) for arr in (axes[..., 1], axes[..., 0], azimuth)))


def changes_on_ground(views: Views, lenses: Lenses, rays_xy: Array, hits: Hits) -> Array:
    """Return (n, 2, 9): how places on the ground move, metres east and north, with the camera's
    east, north and height, a metre; its yaw, pitch, roll and field of view, a radian; and the
    pixel's x and y, a pixel.
    """
    axes, lens = views.axes, lenses.ray_changes(rays_xy)
    directions = views.directions(rays_xy)
    over, slopes = directions[:, :2], hits.slopes_en
    # The line C + t·d meets the plane z = slopes·(x, y) + c, which holds the ground nearby.
    sink = directions[:, 2] - (slopes * over).sum(axis=1)
    stretch = -hits.drop_m / directions[:, 2]
    turned = np.concatenate(
        [views.turned(directions), np.einsum("nrk,nrj->nkj", lens, axes[:, :2])], axis=1
    )  # (n, 6, 3): yaw, pitch, roll, pixel x, pixel y, field of view
    drift = turned[:, :, 2] - np.einsum("nkj,nj->nk", turned[:, :, :2], slopes)
    by_direction = stretch[:, None, None] * (
        turned[:, :, :2] - (drift / sink[:, None])[:, :, None] * over[:, None, :]
    )
    shifted = (
        np.concatenate([slopes[:, :, None] * over[:, None, :], -over[:, None, :]], axis=1)
        / sink[:, None, None]
    )
    shifted[:, :2] += np.eye(2)
    changes = np.concatenate([shifted, by_direction[:, [0, 1, 2, 5, 3, 4]]], axis=1)
    return np.moveaxis(changes, 1, 2)
