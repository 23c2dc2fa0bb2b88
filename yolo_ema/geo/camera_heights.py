"""How high a camera is above the ground: which of a pose's heights counts, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from yolo_ema.geo.ground import Ground, LevelGround
from yolo_ema.geo.pose import Pose
from yolo_ema.geo.surface_model import SurfaceModel
from yolo_ema.options.telemetry import TelemetryOptions

__all__ = ["FlightGround", "flight_ground"]

_AT_TAKEOFF_M = 5.0
_USUAL_ABOVE_M = 150.0
_ANOTHER_ZERO_M = 25.0


@dataclass
class FlightGround:
    """The ground of a source, and its cameras' heights in the heights of that ground.

    Attributes:
        ground: a plane or a surface model.
        assumptions: what was assumed of heights, each once.
        doubt_m: a deviation of heights that comes on top of the telemetry's own.
    """

    ground: Ground
    _stated_m: float | None = None
    _takeoff_m: float | None = None
    assumptions: list[str] = field(default_factory=list)
    doubt_m: float = 0.0

    def height_of(self, pose: Pose) -> float | None:
        """Return the camera's height in the heights of the ground, None where none is known."""
        if isinstance(self.ground, SurfaceModel):
            if self._takeoff_m is not None and pose.height_takeoff_m is not None:
                return self._takeoff_m + pose.height_takeoff_m
            return pose.altitude_m
        if pose.height_takeoff_m is not None:
            return pose.height_takeoff_m - (self._stated_m or 0.0)
        if pose.altitude_m is None:
            return None
        below = self._stated_m if self._stated_m is not None else pose.ground_altitude_m
        return None if below is None else pose.altitude_m - below


def flight_ground(options: TelemetryOptions, poses: Sequence[Pose]) -> FlightGround:
    """Return the ground of a source by what the user stated.

    Args:
        options: level ground, its height, or a surface model.
        poses: all of the source in order of time.

    Raises:
        DataError: the surface model cannot be used.
    """
    if options.dem is None or not poses:
        return FlightGround(LevelGround(), options.ground_height, None, _of_level(options, poses))
    latitudes = np.array([pose.latitude_deg for pose in poses])
    longitudes = np.array([pose.longitude_deg for pose in poses])
    above = [pose.height_takeoff_m for pose in poses if pose.height_takeoff_m is not None]
    reach_m = max(above) + _USUAL_ABOVE_M if above else 0.0
    model = SurfaceModel.open(options.dem, latitudes, longitudes, above_m=reach_m)
    return _on_model(model, poses)


def _of_level(options: TelemetryOptions, poses: Sequence[Pose]) -> list[str]:
    if not poses or options.ground_height is None:
        return ["the ground is taken to be level"] if poses else []
    above = (
        "the point of take-off" if poses[0].height_takeoff_m is not None else "the altitudes' zero"
    )
    return [f"the ground is taken to be level, {options.ground_height:g} m above {above}"]


def _on_model(model: SurfaceModel, poses: Sequence[Pose]) -> FlightGround:
    """Return a surface model's ground.

    A clip that begins at its take-off tells the take-off's height in the model; altitudes of
    receivers are less certain, and their zero need not be the model's.
    """
    first = poses[0]
    said = [f"the ground is the surface model {model.path.name} in {model.projection}"]
    takeoff_m = _takeoff_below(first, model)
    doubt_m, doubted = _height_doubt(first, takeoff_m)
    begins_low = first.height_takeoff_m is not None and first.height_takeoff_m <= _AT_TAKEOFF_M
    if first.altitude_m is not None and not (begins_low and takeoff_m is not None):
        said.append(
            "altitudes of the telemetry and heights of the surface model are taken to have the "
            f"same zero (the telemetry's: {first.altitude_datum})"
        )
        return FlightGround(model, None, None, [*said, *doubted], doubt_m)
    if takeoff_m is None or first.height_takeoff_m is None:
        said.append(
            "the surface model has no height at the first position, and there is no altitude"
        )
        return FlightGround(model, None, None, said)
    said.append(
        f"the point of take-off is taken to lie below the first position, at {takeoff_m:.1f} m in "
        "the surface model"
    )
    if not begins_low:
        said.append(
            f"the clip begins {first.height_takeoff_m:.0f} m above its take-off, which may lie "
            "elsewhere: where its ground is 1 m higher or lower, places are wrong by 1 m at 45 "
            "degrees below the horizon and by 2.7 m at 20"
        )
    return FlightGround(model, None, takeoff_m, said)


def _takeoff_below(first: Pose, model: SurfaceModel) -> float | None:
    """Return the model's height below the first position of telemetry that knows heights above the
    take-off.
    """
    if first.height_takeoff_m is None:
        return None
    height_m = model.height_at(first.latitude_deg, first.longitude_deg)
    return height_m if np.isfinite(height_m) else None


def _height_doubt(first: Pose, takeoff_m: float | None) -> tuple[float, list[str]]:
    """Return the deviation of heights that follows from altitudes which contradict heights above
    the take-off, and what to say of it.
    """
    if takeoff_m is None or first.altitude_m is None or first.height_takeoff_m is None:
        return 0.0, []
    above_m = first.altitude_m - takeoff_m
    apart_m = above_m - first.height_takeoff_m
    if abs(apart_m) <= _ANOTHER_ZERO_M:
        return 0.0, []
    said = (
        f"by its altitude the first position lies {above_m:.0f} m above the surface model, and "
        f"{first.height_takeoff_m:.0f} m above the take-off: unless that lies elsewhere, altitudes "
        "and model have unlike zeros, as sea level and the ellipsoid, or unlike units; half the "
        "difference counts as a deviation of the heights, unless --sigma-height states it"
    )
    return abs(apart_m) / 2, [said]
