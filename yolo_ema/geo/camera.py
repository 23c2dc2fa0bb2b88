"""The camera's inside: a pinhole with Brown's distortion, and fields of view of known drones.

Pixels are measured from the image's left upper corner, x to the right and y down; pixel i spans
[i, i + 1), so that the middle of an image is at half its width and height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import ConfigError, did_you_mean

__all__ = ["CAMERAS", "CameraIntrinsics", "KnownCamera", "known_camera"]

Array = NDArray[np.float64]

_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_ROUNDS = 25
_CLOSE_ENOUGH = 1e-12
_STEPS_TO_FOLD = 48
_SAME_SHAPE = 0.005
_NO_DISTORTION = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CameraIntrinsics:
    """A pinhole camera with Brown's distortion, for frames of one size.

    Attributes:
        width_px, height_px: size of the frames.
        focal_px: focal length.
        cx_px, cy_px: principal point, from the left upper corner of the frame.
        brown: k1, k2, p1, p2, k3 of Brown's model, in OpenCV's order and meaning (OpenSfM's, too).

    Examples:
        >>> from yolo_ema import CameraIntrinsics
        >>> camera = CameraIntrinsics.from_35mm(4000, 3000, 24)
        >>> round(camera.hfov_deg, 1)
        71.6
    """

    width_px: int
    height_px: int
    focal_px: float
    cx_px: float
    cy_px: float
    brown: tuple[float, float, float, float, float] = _NO_DISTORTION

    def __post_init__(self) -> None:
        numbers = (self.focal_px, self.cx_px, self.cy_px, *self.brown)
        if len(self.brown) != 5 or not all(map(math.isfinite, numbers)):
            raise ConfigError(
                f"the camera's focal length, principal point and distortion are {numbers}; "
                "expected finite numbers, five of them for distortion: k1, k2, p1, p2, k3"
            )
        if self.width_px < 1 or self.height_px < 1 or self.focal_px <= 0:
            raise ConfigError(
                f"a camera of {self.width_px}x{self.height_px} pixels with a focal length of "
                f"{self.focal_px:g} pixels cannot be; expected numbers above 0"
            )

    @classmethod
    def from_hfov(cls, width_px: int, height_px: int, hfov_deg: float) -> CameraIntrinsics:
        """Return the camera whose frames are this many degrees wide.

        Raises:
            ConfigError: the field of view is not between 0 and 180 degrees.
        """
        if not 0 < hfov_deg < 180:
            raise ConfigError(
                f"the horizontal field of view is {hfov_deg:g}; expected more than 0 and less than "
                "180 degrees"
            )
        focal_px = width_px / 2 / math.tan(math.radians(hfov_deg) / 2)
        return cls(width_px, height_px, focal_px, width_px / 2, height_px / 2)

    @classmethod
    def from_35mm(
        cls,
        width_px: int,
        height_px: int,
        focal_35mm: float,
        *,
        sensor_aspect: float | None = None,
    ) -> CameraIntrinsics:
        """Return the camera of a focal length in 35 mm equivalents, which go by the diagonal.

        Args:
            width_px: width of the frames.
            height_px: their height.
            focal_35mm: the equivalent, millimetres.
            sensor_aspect: width by height of the sensor whose diagonal is meant, 4/3 on most
                drones; the frames are taken to be as wide as it. By default it has the frames' own
                shape.

        Raises:
            ConfigError: the focal length is not above 0.
        """
        if not 0 < focal_35mm < math.inf:
            raise ConfigError(
                f"the focal length is {focal_35mm:g} mm in 35 mm equivalents; expected more than 0"
            )
        aspect = sensor_aspect or width_px / height_px
        half_width_mm = _DIAGONAL_35MM * aspect / math.hypot(aspect, 1) / 2
        hfov_deg = 2 * math.degrees(math.atan(half_width_mm / focal_35mm))
        return cls.from_hfov(width_px, height_px, hfov_deg)

    @property
    def hfov_deg(self) -> float:
        """Width of a frame in degrees, distortion left out."""
        left, right = self.cx_px, self.width_px - self.cx_px
        return math.degrees(math.atan(left / self.focal_px) + math.atan(right / self.focal_px))

    def scaled_to(self, width_px: int, height_px: int) -> CameraIntrinsics:
        """Return the same camera for frames that were scaled to another size.

        Raises:
            ConfigError: the frames have another shape: they were cut, and by how much is unknown.
        """
        if (width_px, height_px) == (self.width_px, self.height_px):
            return self
        scale = width_px / self.width_px
        if abs(height_px / (self.height_px * scale) - 1) > _SAME_SHAPE:
            raise ConfigError(
                f"the camera is described for frames of {self.width_px}x{self.height_px}, and "
                f"these have {width_px}x{height_px}, another shape: how they were cut is unknown. "
                "Give their own field of view with --hfov"
            )
        return replace(
            self,
            width_px=width_px,
            height_px=height_px,
            focal_px=self.focal_px * scale,
            cx_px=self.cx_px * scale,
            cy_px=self.cy_px * height_px / self.height_px,
        )

    def to_pixels(self, rays_xy: Array) -> Array:
        """Return the pixels (N, 2) of directions (N, 2): right and down, in units of the depth."""
        return self._distorted(rays_xy) * self.focal_px + (self.cx_px, self.cy_px)

    def to_rays(self, pixels_xy: Array) -> Array:
        """Return the directions (N, 2), right and down in units of the depth, of pixels (N, 2); NaN
        where the distortion has no inverse, as far outside the frames.
        """
        seen = (np.asarray(pixels_xy, float).reshape(-1, 2) - (self.cx_px, self.cy_px)) / (
            self.focal_px
        )
        if self.brown == _NO_DISTORTION:
            return seen
        rays = seen.copy()
        with np.errstate(all="ignore"):  # what diverges becomes NaN below
            for _ in range(_ROUNDS):
                step = np.linalg.solve(
                    _steady(self._derivative(rays)), (self._distorted(rays) - seen)[..., None]
                )[..., 0]
                rays = rays - step
                if np.nanmax(np.abs(step), initial=0.0) < _CLOSE_ENOUGH:
                    break
            missed = np.abs(self._distorted(rays) - seen).max(axis=1) > 1e-9
            rays[missed | ~self._unfolded(rays)] = np.nan
        return rays

    def ray_derivative(self, rays_xy: Array) -> Array:
        """Return (N, 2, 2): how rays (N, 2) change with their pixels, a pixel."""
        return np.asarray(np.linalg.inv(_steady(self._derivative(rays_xy) * self.focal_px)), float)

    def _distorted(self, rays_xy: Array) -> Array:
        k1, k2, p1, p2, k3 = self.brown
        x, y = rays_xy[..., 0], rays_xy[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )

    def _unfolded(self, rays: Array) -> NDArray[np.bool_]:
        """Return for rays (N, 2) whether the distortion keeps its sense all the way to them from
        the optical axis: beyond where it does not, it folds the image back on itself.
        """
        steps = np.linspace(0, 1, _STEPS_TO_FOLD + 1)[1:, None, None] * rays  # (S, N, 2)
        senses = np.linalg.det(self._derivative(steps.reshape(-1, 2)))
        return np.asarray((senses.reshape(len(steps), -1) > 0).all(axis=0))

    def _derivative(self, rays_xy: Array) -> Array:
        """Return (N, 2, 2): how the distorted direction changes with the direction."""
        k1, k2, p1, p2, k3 = self.brown
        x, y = rays_xy[..., 0], rays_xy[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
        cross = slope * x * y + 2 * p1 * x + 2 * p2 * y
        return np.stack(
            [
                np.stack([radial + slope * x * x + 2 * p1 * y + 6 * p2 * x, cross], axis=-1),
                np.stack([cross, radial + slope * y * y + 6 * p1 * y + 2 * p2 * x], axis=-1),
            ],
            axis=-2,
        )


def _steady(matrices: Array) -> Array:
    """Return matrices (N, 2, 2) with NaN for those that have no inverse, which `solve` refuses."""
    singular = ~(np.abs(np.linalg.det(matrices)) > 1e-12)
    return np.where(singular[:, None, None], np.eye(2) * np.nan, matrices)


class KnownCamera(NamedTuple):
    """What the makers state of a drone's main camera.

    Attributes:
        focal_35mm: focal length in 35 mm equivalents, millimetres.
        sensor_aspect: width by height of the sensor.
    """

    focal_35mm: float
    sensor_aspect: float


CAMERAS: dict[str, KnownCamera] = {
    "air2s": KnownCamera(22.0, 3 / 2),
    "air3": KnownCamera(24.0, 4 / 3),
    "anafi": KnownCamera(23.0, 4 / 3),
    "m30": KnownCamera(24.0, 4 / 3),
    "mavic-air-2": KnownCamera(24.0, 4 / 3),
    "mavic2-pro": KnownCamera(28.0, 3 / 2),
    "mavic3": KnownCamera(24.0, 4 / 3),
    "mavic3-enterprise": KnownCamera(24.0, 4 / 3),
    "mini2": KnownCamera(24.0, 4 / 3),
    "mini3": KnownCamera(24.0, 4 / 3),
    "mini3-pro": KnownCamera(24.0, 4 / 3),
    "mini4-pro": KnownCamera(24.0, 4 / 3),
    "phantom4": KnownCamera(20.0, 4 / 3),
    "phantom4-pro": KnownCamera(24.0, 3 / 2),
    "phantom4-rtk": KnownCamera(24.0, 3 / 2),
    "zenmuse-p1-35mm": KnownCamera(35.0, 3 / 2),
}
"""Main cameras at their widest, by the makers' data sheets; `--camera` takes these names. Modes
that cut the sensor, stabilisation and digital zoom narrow the view: `--hfov` states it then.
"""


def known_camera(name: str) -> KnownCamera:
    """Return a camera of `CAMERAS`. Raises `ConfigError` for an unknown name, with the closest."""
    if name not in CAMERAS:
        raise ConfigError(
            f"no camera {name!r}{did_you_mean(name, CAMERAS)}; known are {', '.join(CAMERAS)}; "
            "others are described by --hfov"
        )
    return CAMERAS[name]
