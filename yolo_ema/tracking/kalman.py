"""A Kalman filter for the boxes of many tracks at once: constant velocity, in pixels and frames.

A track's state is its box's centre x and y, width and height in pixels, then the speed of each in
pixels a frame; N tracks are a mean (N, 8) and a covariance (N, 8, 8). This is the state of BoT-SORT
(Aharon et al., 2022). What differs is the noise: by shares of a box of 10 pixels alone the filter
would trust positions to half a pixel, so it has a floor in pixels; and counted in frames alone it
would expect half the speed at half the frame rate, so speeds are set in box sides a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_ema.tracking.motion import warp_points

Array = NDArray[np.float64]

_STEP = np.eye(8) + np.eye(8, k=4)
"""One frame of constant velocity."""

_LEAST_SIDE_PX = 1.0
_SIZE_NOISE = 1.4
"""How much less certain a detected width is than a detected centre."""

_SPEED_SHARES = np.array([1, 1, 0.3, 0.3])
_CHANGE_SHARES = np.array([0.5, 0.5, 0.2, 0.2, 1, 1, 0.2, 0.2])
"""Shares of an unknown speed and of its change: sizes change less than places."""


class BoxKalmanFilter:
    """Starts, predicts, corrects and warps the states of tracks.

    Args:
        frame_rate: frames per second.
        noise: standard deviation of a detected position, as a share of the box's side.
        noise_px: the least such deviation, pixels.
        speed: deviation of an unknown speed, box sides a second.
        acceleration: deviation of the speed's change, box sides a second squared.
    """

    def __init__(
        self,
        frame_rate: float,
        *,
        noise: float,
        noise_px: float,
        speed: float,
        acceleration: float,
    ) -> None:
        self._noise, self._noise_px = noise, noise_px
        self._speed = speed / frame_rate
        self._acceleration = acceleration / frame_rate**2

    def start(self, boxes_xywh: Array) -> tuple[Array, Array]:
        """Return mean (N, 8) and covariance (N, 8, 8) of new tracks at rest, from detected centres,
        widths and heights (N, 4).
        """
        speed = np.outer(_scale(boxes_xywh) * self._speed, _SPEED_SHARES)
        deviation = np.concatenate([2 * self._measurement_noise(boxes_xywh), speed], axis=1)
        mean = np.concatenate([boxes_xywh, np.zeros_like(boxes_xywh)], axis=1)
        return mean, _diagonal(deviation**2)

    def predict(self, mean: Array, covariance: Array, frames: int = 1) -> tuple[Array, Array]:
        """Return the states some frames later."""
        for _ in range(frames):
            change = np.outer(_scale(mean) * self._acceleration, _CHANGE_SHARES)
            mean = mean @ _STEP.T
            covariance = _STEP @ covariance @ _STEP.T + _diagonal(change**2)
        mean[:, 2:4] = np.maximum(mean[:, 2:4], _LEAST_SIDE_PX)
        return mean, covariance

    def correct(self, mean: Array, covariance: Array, boxes_xywh: Array) -> tuple[Array, Array]:
        """Return the states after a detection (N, 4) of each."""
        expected = covariance[:, :4, :4] + _diagonal(self._measurement_noise(mean) ** 2)
        gain = np.linalg.solve(expected, covariance[:, :4]).transpose(0, 2, 1)  # (N, 8, 4)
        innovation = (boxes_xywh - mean[:, :4])[:, :, None]
        corrected = mean + (gain @ innovation)[:, :, 0]
        return corrected, covariance - gain @ expected @ gain.transpose(0, 2, 1)

    @staticmethod
    def warp(mean: Array, covariance: Array, homography: Array) -> tuple[Array, Array]:
        """Return the states moved with the ground: centres by the homography (3, 3), speeds and
        sizes by its derivative there.
        """
        centres = mean[:, :2]
        moved = warp_points(centres, homography)
        depth = centres @ homography[2, :2] + homography[2, 2]
        turn = homography[:2, :2] - moved[:, :, None] * homography[2, :2]
        turn = turn / depth[:, None, None]  # (N, 2, 2)
        zoom = np.sqrt(np.abs(np.linalg.det(turn)))
        change = np.zeros_like(covariance)
        change[:, 0:2, 0:2] = change[:, 4:6, 4:6] = turn
        change[:, [2, 3, 6, 7], [2, 3, 6, 7]] = zoom[:, None]
        mean = (change @ mean[:, :, None])[:, :, 0]
        mean[:, :2] = moved
        return mean, change @ covariance @ change.transpose(0, 2, 1)

    def _measurement_noise(self, boxes: Array) -> Array:
        """Return the deviation (N, 4) of detections, by the sizes of boxes (N, 4 or 8)."""
        sides = np.maximum(boxes[:, 2:4], _LEAST_SIDE_PX)
        deviation = np.hypot(self._noise * sides, self._noise_px)
        return np.concatenate([deviation, deviation * _SIZE_NOISE], axis=1)


def _scale(boxes: Array) -> Array:
    """Return the root of each box's area (N,), pixels."""
    scale: Array = np.sqrt(np.maximum(boxes[:, 2:4], _LEAST_SIDE_PX).prod(axis=1))
    return scale


def _diagonal(variances: Array) -> Array:
    """Return (N, K, K) with (N, K) on the diagonals."""
    return variances[:, :, None] * np.eye(variances.shape[1])
