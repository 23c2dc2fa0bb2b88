"""From samples to poses: what the user gives takes the place of what telemetry says or lacks, and
every assumption is said once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping

from yolo_ema.geo.camera import CameraIntrinsics, KnownCamera, known_camera
from yolo_ema.geo.geodesic import wrapped_deg
from yolo_ema.geo.pose import Pose
from yolo_ema.geo.telemetry.reading import Sample
from yolo_ema.options.telemetry import TelemetryOptions

_USUAL_ASPECT = 4 / 3
_GIVEN = {"yaw_deg": "yaw", "pitch_deg": "pitch", "roll_deg": "roll", "hfov_deg": "hfov"}
_HEIGHTS = (
    "heights are above the point of take-off, not above the ground below: where the ground lies "
    "1 m higher or lower, places are wrong by 1 m at 45 degrees below the horizon and by 2.7 m at "
    "20; give --ground-height or --dem where it does"
)
_ALTITUDES = (
    "the telemetry has altitudes and no height above the take-off: give the altitude of the ground "
    "with --ground-height, or --dem"
)


class PoseMaker:
    """Makes the poses of one source.

    Attributes:
        source: the reader, as it stands in poses.
        position_step_m: the steps in which it writes positions, as they stand in poses.
        assumptions: what was assumed for the poses made so far.

    Raises:
        ConfigError: on construction, for an unknown ``--camera``.
    """

    def __init__(self, options: TelemetryOptions, source: str) -> None:
        self._options, self.source, self.position_step_m = options, source, 0.0
        self._known: KnownCamera | None = known_camera(options.camera) if options.camera else None
        self._said: dict[str, str] = {}  # by what it is about, so that each is said once

    @property
    def assumptions(self) -> list[str]:
        """What was assumed for the poses made so far."""
        return list(self._said.values())

    def poses(self, samples: Iterable[Sample]) -> tuple[Pose, ...]:
        """Return the poses of samples."""
        return tuple(map(self.pose, samples))

    def pose(self, sample: Sample) -> Pose:
        """Return the pose of a sample, which has latitude and longitude."""
        values = sample.values
        roll = self._angle("roll_deg", values)
        if roll is None:
            roll = 0.0
            self._say("roll", "the telemetry has no roll of the camera: 0 is assumed, level")
        self._say_heights(values)
        hfov, of_long_side = self._hfov_deg(sample)
        return Pose(
            time_s=sample.time_s,
            latitude_deg=values["latitude_deg"],
            longitude_deg=_wrapped(values["longitude_deg"]),
            height_takeoff_m=values.get("height_takeoff_m"),
            altitude_m=values.get("altitude_m"),
            ground_altitude_m=values.get("ground_altitude_m"),
            yaw_deg=self._angle("yaw_deg", values),
            pitch_deg=self._angle("pitch_deg", values),
            roll_deg=roll,
            hfov_deg=hfov,
            utc=sample.utc,
            source=self.source,
            altitude_datum=sample.altitude_datum,
            camera=None if self._options.hfov else sample.camera,
            position_step_m=self.position_step_m,
            hfov_of_long_side=of_long_side,
        )

    def _angle(self, name: str, values: Mapping[str, float]) -> float | None:
        """Return the user's angle, or else the telemetry's."""
        angle = values.get(name)
        given = getattr(self._options, _GIVEN[name])
        if given is not None:
            instead = "" if angle is None else f", instead of the telemetry's {angle:g} and so on"
            self._say(name, f"{_GIVEN[name]} is {given:g} degrees, as given{instead}")
            angle = given
        return None if angle is None else _wrapped(angle)

    def _say_heights(self, values: Mapping[str, float]) -> None:
        if self._options.dem is not None or self._options.ground_height is not None:
            return
        if "height_takeoff_m" in values:
            self._say("heights", _HEIGHTS)
        elif "altitude_m" in values and "ground_altitude_m" not in values:
            self._say("heights", _ALTITUDES)

    def _hfov_deg(self, sample: Sample) -> tuple[float | None, bool]:
        """Return how wide the frame is: as given, as the telemetry has it, by its focal length in
        35 mm equivalents, or by the known camera, narrowed by a digital zoom; and whether that is
        of its longer side.
        """
        values = sample.values
        if self._options.hfov is not None:
            self._say("hfov", f"the frame is {self._options.hfov:g} degrees wide, as given")
            return self._options.hfov, False
        if "hfov_deg" in values:
            return values["hfov_deg"], False
        if sample.camera is not None:
            return sample.camera.hfov_deg, False
        known = self._known
        focal = values.get("focal_35mm", known.focal_35mm if known else None)
        if focal is None:
            return None, False
        aspect = known.sensor_aspect if known else values.get("sensor_aspect", _USUAL_ASPECT)
        zoom = values.get("zoom", 1.0)
        hfov = _hfov_by_focal_length(focal, aspect, zoom)
        if "hfov" not in self._said:
            self._say("hfov", _hfov_sentence(hfov, focal, aspect, zoom))
        return hfov, True

    def _say(self, about: str, sentence: str) -> None:
        self._said.setdefault(about, sentence)


@functools.lru_cache(maxsize=256)
def _hfov_by_focal_length(focal_35mm: float, sensor_aspect: float, zoom: float) -> float:
    whole = CameraIntrinsics.from_35mm(4000, 3000, focal_35mm, sensor_aspect=sensor_aspect)
    return 2 * math.degrees(math.atan(math.tan(math.radians(whole.hfov_deg) / 2) / zoom))


def _hfov_sentence(hfov: float, focal_35mm: float, sensor_aspect: float, zoom: float) -> str:
    zoomed = "" if zoom == 1 else f", and a digital zoom of {zoom:g}"
    return (
        f"the frame is {hfov:.1f} degrees wide, by {focal_35mm:g} mm in 35 mm equivalents, which "
        f"go by the diagonal, on a sensor {sensor_aspect:.3g} times as wide as high and as wide as "
        f"the frame, as high where that is upright{zoomed}; modes that cut the sensor and "
        "stabilisation see less: --hfov states it"
    )


def _wrapped(angle_deg: float) -> float:
    """Return an angle from -180 to below 180 degrees, to the last digit as it was where it is."""
    return angle_deg if -180 <= angle_deg < 180 else float(wrapped_deg(angle_deg))
