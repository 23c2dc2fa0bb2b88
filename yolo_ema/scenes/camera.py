"""A pinhole camera above flat ground.

World coordinates are metres: x east, y north, z up, with the ground at z = 0. Image coordinates are
pixels from the image's left upper corner, x to the right and y down; pixel i spans [i, i+1).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Where the drone hovers and where its camera points.

    Attributes:
        target_xy: the point on the ground in the centre of the image, metres.
        distance: from the lens to that point, metres.
        yaw: direction of view over the ground, radians, counter-clockwise from east.
        pitch: angle of view below the horizon, radians; pi/2 is straight down.
        image_wh: image size, pixels.
        focal: focal length in image widths; 1.0 is a field of view of 53 degrees.
    """

    target_xy: tuple[float, float]
    distance: float
    yaw: float
    pitch: float
    image_wh: tuple[int, int]
    focal: float = 1.0

    @functools.cached_property
    def rotation(self) -> Array:
        """Return (3, 3): rows are the image's right, its down and the line of view, in world
        coordinates.
        """
        cos_yaw, sin_yaw = math.cos(self.yaw), math.sin(self.yaw)
        cos_pitch, sin_pitch = math.cos(self.pitch), math.sin(self.pitch)
        forward = np.array([cos_pitch * cos_yaw, cos_pitch * sin_yaw, -sin_pitch])
        right = np.array([sin_yaw, -cos_yaw, 0.0])
        down = np.array([-sin_pitch * cos_yaw, -sin_pitch * sin_yaw, -cos_pitch])
        return np.stack([right, down, forward])

    @functools.cached_property
    def position(self) -> Array:
        """Return (3,): the lens in world coordinates, metres."""
        return np.array([*self.target_xy, 0.0]) - self.distance * self.rotation[2]

    def view(self, points: Array) -> Array:
        """Return ``points`` (N, 3) in camera coordinates (N, 3): right, down, depth, metres."""
        return (points - self.position) @ self.rotation.T

    def to_pixels(self, seen: Array) -> Array:
        """Return camera coordinates (N, 3) of positive depth as pixels (N, 2)."""
        width, height = self.image_wh
        return seen[:, :2] * (self.focal * width / seen[:, 2:]) + (width / 2, height / 2)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return the pixels (N, 2) and depths (N,) in metres of world ``points`` (N, 3); depths are
        kept above 0.1 m.
        """
        seen = self.view(points)
        seen[:, 2] = np.maximum(seen[:, 2], 0.1)
        return self.to_pixels(seen), seen[:, 2]

    def ground_to_image(self) -> Array:
        """Return the homography (3, 3) from ground metres (x, y, 1) to homogeneous pixels."""
        width, height = self.image_wh
        rotation = self.rotation
        intrinsic = np.array(
            [[self.focal * width, 0, width / 2], [0, self.focal * width, height / 2], [0, 0, 1]]
        )
        return intrinsic @ np.column_stack(
            [rotation[:, 0], rotation[:, 1], -rotation @ self.position]
        )

    def visible_ground(self, reach: float = 400.0) -> Array:
        """Return (4, 2): where the image's corners lie on the ground, metres, at most ``reach``
        from below the lens.
        """
        width, height = self.image_wh
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
        rays = (
            np.column_stack(
                [(corners - (width / 2, height / 2)) / (self.focal * width), np.ones(4)]
            )
            @ self.rotation
        )
        position = self.position
        flat = np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-9)
        stretch = np.where(rays[:, 2] < -1e-6, position[2] / np.maximum(-rays[:, 2], 1e-6), np.inf)
        return position[:2] + rays[:, :2] * np.minimum(stretch, reach / flat)[:, None]
