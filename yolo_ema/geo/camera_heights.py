"""How high a camera is above the ground: which of a pose's heights counts, and from where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.geo.geodesic import geodesic_forward, geodesic_inverse
from yolo_ema.geo.ground import Ground, LevelGround
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.surface_model import SurfaceModel
from yolo_ema.options.telemetry import TelemetryOptions

_AT_TAKEOFF_M = 5.0
_USUAL_ABOVE_M = 150.0
_TAKEOFF_WITHIN_M = 300.0
_ALTITUDE_SIGMA_M = 5.0
_FLIGHT_M = 2000.0  # stills that lie farther from a flight's first are of another


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


def ground_below(
    options: TelemetryOptions, poses: Iterable[Pose | NoPose]
) -> FlightGround | DataError:
    """Return the ground below cameras in order of time, or the error where the surface model cannot
    be used for them.

    Raises:
        DataNotFoundError: there is no such surface model.
    """
    known = [pose for pose in poses if isinstance(pose, Pose)]
    try:
        return flight_ground(options, known)
    except DataNotFoundError:
        raise
    except DataError as error:
        return error


def ground_of_video(options: TelemetryOptions, track: PoseTrack) -> FlightGround | DataError:
    """Return the ground of a whole video, from its first frame on, which tells the point of
    take-off. See `ground_below`.
    """
    behind = [pose for pose in track.poses if pose.time_s > 0]
    return ground_below(options, [track.at(0.0), *behind])


def grounds_of_stills(
    options: TelemetryOptions, poses: Sequence[Pose | NoPose]
) -> list[FlightGround | DataError]:
    """Return the ground below each of many stills: one for all that are of a flight, whose first
    still tells the point of take-off. See `ground_below`.
    """
    if options.dem is None:
        return [ground_below(options, poses)] * len(poses)
    grounds = [ground_below(options, [])] * len(poses)
    for rows in _flights(poses):
        ground = ground_below(options, [poses[row] for row in rows])
        for row in rows:
            grounds[row] = ground
    return grounds


def _flights(poses: Sequence[Pose | NoPose]) -> list[list[int]]:
    """Return the rows of each flight's stills, by time where all have one."""
    flights: list[list[int]] = []
    firsts_deg = np.zeros((0, 2))
    for row, pose in enumerate(poses):
        if isinstance(pose, NoPose):
            continue
        here = (pose.latitude_deg, pose.longitude_deg)
        apart_m = geodesic_inverse(firsts_deg[:, 0], firsts_deg[:, 1], *here)[1]
        near = np.flatnonzero(apart_m <= _FLIGHT_M)
        if len(near):
            flights[near[0]].append(row)
        else:
            flights.append([row])
            firsts_deg = np.vstack([firsts_deg, here])
    return [_by_time(rows, poses) for rows in flights]


def _by_time(rows: list[int], poses: Sequence[Pose | NoPose]) -> list[int]:
    moments = [pose.utc for pose in (poses[row] for row in rows) if isinstance(pose, Pose)]
    known = [moment for moment in moments if moment is not None]
    if len(known) < len(rows):
        return rows
    return [row for _, row in sorted(zip(known, rows, strict=True))]


def _of_level(options: TelemetryOptions, poses: Sequence[Pose]) -> list[str]:
    if not poses or options.ground_height is None:
        return ["the ground is taken to be level"] if poses else []
    above = (
        "the point of take-off" if poses[0].height_takeoff_m is not None else "the altitudes' zero"
    )
    return [f"the ground is taken to be level, {options.ground_height:g} m above {above}"]


def _on_model(model: SurfaceModel, poses: Sequence[Pose]) -> FlightGround:
    """Return a surface model's ground, by the first position that lies on it.

    A clip that begins at its take-off tells the take-off's height in the model. Of others the
    altitudes count, unless they contradict that height by more than the ground around explains:
    receivers' altitudes are less certain, and their zero need not be the model's.
    """
    on_model = (p for p in poses if math.isfinite(model.height_at(p.latitude_deg, p.longitude_deg)))
    first = next(on_model, poses[0])
    notes = [f"the ground is the surface model {model.path.name} in {model.projection}"]
    takeoff_m, relief_m = _ground_around(first, model)
    above_m = first.height_takeoff_m
    has_takeoff = above_m is not None and math.isfinite(takeoff_m)
    if first.altitude_m is None and not has_takeoff:
        notes.append(
            "the surface model has no height at the first position, and there is no altitude"
        )
        return FlightGround(model, None, None, notes)
    if above_m is None or not has_takeoff:
        return FlightGround(model, None, None, [*notes, _one_zero(first)])
    begins_low = above_m <= _AT_TAKEOFF_M
    apart_m = 0.0 if first.altitude_m is None else first.altitude_m - takeoff_m - above_m
    explained_m = 2 * math.hypot(relief_m, _ALTITUDE_SIGMA_M)
    if not (begins_low or first.altitude_m is None or abs(apart_m) > explained_m):
        return FlightGround(model, None, None, [*notes, _one_zero(first)])
    notes.append(
        f"the point of take-off is taken to lie below the first position, at {takeoff_m:.1f} m in "
        "the surface model"
    )
    if begins_low:
        return FlightGround(model, None, takeoff_m, notes)
    if first.altitude_m is not None:
        notes.append(
            f"by its altitude the first position lies {above_m + apart_m:.0f} m above the surface "
            f"model, and {above_m:.0f} m above the take-off: altitudes and model have unlike zeros,"
            " as sea level and the ellipsoid, or unlike units, so that altitudes do not count"
        )
    notes.append(
        f"the clip begins {above_m:.0f} m above its take-off, which may lie elsewhere: heights "
        f"have a deviation of {relief_m:.1f} m more, as those of the ground within "
        f"{_TAKEOFF_WITHIN_M:g} m, unless --sigma-height states it"
    )
    return FlightGround(model, None, takeoff_m, notes, relief_m)


def _one_zero(first: Pose) -> str:
    return (
        "altitudes of the telemetry and heights of the surface model are taken to have the same "
        f"zero (the telemetry's: {first.altitude_datum})"
    )


def _ground_around(first: Pose, model: SurfaceModel) -> tuple[float, float]:
    """Return the model's height below the first position, NaN where it has none, and the standard
    deviation of its heights around.
    """
    azimuths, distances = np.meshgrid(
        np.arange(0.0, 360.0, 15.0), _TAKEOFF_WITHIN_M * np.sqrt(np.arange(1, 9) / 8)
    )
    latitudes, longitudes = geodesic_forward(
        first.latitude_deg, first.longitude_deg, azimuths.ravel(), distances.ravel()
    )
    around = model.sample(*model.to_cells(longitudes, latitudes))
    around = around[np.isfinite(around)]
    below_m = model.height_at(first.latitude_deg, first.longitude_deg)
    return (
        below_m if math.isfinite(below_m) else math.nan,
        float(around.std()) if len(around) else 0.0,
    )
