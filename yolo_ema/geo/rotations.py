"""Turns of an aircraft and its camera, as matrices whose columns are the axes forward, right and
down of what is turned, each in north, east and down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LEAST_LEVEL = 1e-9


def rotation_of(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Array:
    """Return the (3, 3) matrix of a yaw, then a pitch, then a roll: those of an aircraft in north,
    east and down, or of a gimbal in the axes of its aircraft.
    """
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    sin_y, cos_y, sin_p, cos_p = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
    sin_r, cos_r = math.sin(roll), math.cos(roll)
    about_down = np.array([[cos_y, -sin_y, 0], [sin_y, cos_y, 0], [0, 0, 1]])
    about_right = np.array([[cos_p, 0, sin_p], [0, 1, 0], [-sin_p, 0, cos_p]])
    about_forward = np.array([[1, 0, 0], [0, cos_r, -sin_r], [0, sin_r, cos_r]])
    return about_down @ about_right @ about_forward


def rotation_of_quaternion(wxyz: Sequence[float]) -> Array:
    """Return the (3, 3) matrix of a quaternion in MAVLink's order; NaN if it is not a rotation."""
    length = math.sqrt(sum(part * part for part in wxyz))
    if not 0.5 < length < 2:  # also NaN
        return np.full((3, 3), np.nan)
    w, x, y, z = (part / length for part in wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def yaw_pitch_roll_of(rotation: Array) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in degrees of a camera that looks along the first axis of a
    (3, 3) matrix; straight down and straight up, where two of them are one, the roll is 0.
    """
    forward, right, down = rotation.T
    level = math.hypot(forward[0], forward[1])
    pitch = math.degrees(math.atan2(-forward[2], level))
    if level < _LEAST_LEVEL:
        return math.degrees(math.atan2(-right[0], right[1])), pitch, 0.0
    yaw = math.degrees(math.atan2(forward[1], forward[0]))
    return yaw, pitch, math.degrees(math.atan2(right[2], down[2]))
