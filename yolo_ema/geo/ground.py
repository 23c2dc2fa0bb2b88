"""Where lines of view meet the ground, if it is level; and what any ground tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.views import Views

Array = NDArray[np.float64]

LEAST_DEPRESSION_DEG = 5.0
"""Nothing is placed that is seen at a smaller angle below the horizon."""

REASONS = {
    "above_horizon": "the line of view does not go down",
    "near_horizon": f"it goes down by less than {LEAST_DEPRESSION_DEG:g} degrees",
    "below_ground": "by its height the camera is not above the ground",
    "outside_surface_model": "the line of view leaves the surface model before it meets it",
    "surface_nodata": "the surface model has no heights where the line of view runs",
    "outside_lens_model": "the lens distortion has no inverse at that pixel",
    "error_too_large": "the error ellipse exceeds --max-error",
}
"""Why something is not placed: codes, as they stand in results, and what they mean."""


@dataclass(frozen=True)
class Hits:
    """Where n lines of view meet the ground.

    Attributes:
        offsets_en: (n, 2) metres east and north of the camera; NaN where there is a reason.
        drop_m: (n,) metres from the camera down to the height of the ground there.
        slopes_en: (n, 2) rise of the ground there, metres a metre to the east and to the north.
        reasons: (n,) codes of `REASONS`, "" where the ground is met.
    """

    offsets_en: Array
    drop_m: Array
    slopes_en: Array
    reasons: NDArray[np.str_]


class Ground(Protocol):
    """A plane or a surface model."""

    def hits(self, views: Views, directions: Array) -> Hits:
        """Return where lines of view with directions (n, 3), east, north and up, meet the
        ground first.
        """
        ...


@dataclass(frozen=True)
class LevelGround:
    """Ground of one height.

    Attributes:
        height_m: its height above the zero of the cameras' heights, as the take-off point.
    """

    height_m: float = 0.0

    def hits(self, views: Views, directions: Array) -> Hits:
        """Return where lines of view meet the ground, see `Ground.hits`."""
        drop_m = views.height_m - self.height_m
        reasons = sky_reasons(directions)
        reasons[(reasons == "") & ~(drop_m > 0)] = "below_ground"
        hit = reasons == ""
        stretch = np.where(hit, -drop_m / np.where(hit, directions[:, 2], -1), np.nan)
        return Hits(
            directions[:, :2] * stretch[:, None], drop_m, np.zeros((len(views), 2)), reasons
        )


def sky_reasons(directions: Array) -> NDArray[np.str_]:
    """Return for each direction (n, 3) why it cannot meet the ground well, or ""."""
    reasons = np.full(len(directions), "", dtype="<U24")
    depression = np.degrees(
        np.arctan2(-directions[:, 2], np.hypot(directions[:, 0], directions[:, 1]))
    )
    reasons[depression < LEAST_DEPRESSION_DEG] = "near_horizon"
    reasons[depression <= 0] = "above_horizon"
    reasons[~np.isfinite(directions).all(axis=1)] = "outside_lens_model"
    return reasons
