"""How a camera lies in the world: from directions in the image to directions over the ground.

World coordinates are metres east, north and up. Yaw turns clockwise from north, pitch is −90° for
straight down and 0° for the horizon, roll turns the camera about its optical axis, positive where
its right side goes down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Views:
    """Where cameras are and where they look: n of them, one for each box that is to be located.

    Attributes:
        latitude_deg, longitude_deg: (n,).
        height_m: (n,) in the heights of the ground: above its zero.
        yaw_deg, pitch_deg, roll_deg: (n,).
    """

    latitude_deg: Array
    longitude_deg: Array
    height_m: Array
    yaw_deg: Array
    pitch_deg: Array
    roll_deg: Array

    def __len__(self) -> int:
        return len(self.height_m)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Views:
        return Views(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @functools.cached_property
    def axes(self) -> Array:
        """(n, 3, 3): rows are the images' right, their down and the line of view, in the world."""
        yaw, pitch, roll = np.radians([self.yaw_deg, self.pitch_deg, self.roll_deg])
        zero = np.zeros_like(yaw)
        forward = np.stack(
            [np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)], axis=1
        )
        level = np.stack([np.cos(yaw), -np.sin(yaw), zero], axis=1)
        down = np.cross(forward, level)
        cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
        return np.stack([level * cos + down * sin, down * cos - level * sin, forward], axis=1)

    def directions(self, rays_xy: Array) -> Array:
        """Return (n, 3): the directions in the world of rays (n, 2), right and down in units of the
        depth.
        """
        seen = np.column_stack([rays_xy, np.ones(len(rays_xy))])
        return np.einsum("ni,nij->nj", seen, self.axes)

    def rays_to(self, offsets_enu: Array) -> Array:
        """Return the rays (n, 2) to points (n, 3) in metres from the camera; NaN for points behind
        it.
        """
        seen = np.einsum("nij,nj->ni", self.axes, offsets_enu)
        depth = np.where(seen[:, 2] > 1e-9, seen[:, 2], np.nan)
        return seen[:, :2] / depth[:, None]

    def turned(self, directions: Array) -> Array:
        """Return (n, 3, 3): how directions (n, 3) change with yaw, pitch and roll, the rows, each
        per radian.
        """
        yaw = np.radians(self.yaw_deg)
        level = np.stack([np.cos(yaw), -np.sin(yaw), np.zeros_like(yaw)], axis=1)
        by_yaw = np.stack([directions[:, 1], -directions[:, 0], np.zeros(len(self))], axis=1)
        by_pitch = np.cross(level, directions)
        return np.stack([by_yaw, by_pitch, np.cross(self.axes[:, 2], directions)], axis=1)
