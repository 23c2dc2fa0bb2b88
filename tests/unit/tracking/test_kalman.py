"""The Kalman filter of many boxes against the textbook's, one box at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.tracking.kalman import BoxKalmanFilter
from yolo_ema.tracking.motion import warp_points

RATE, NOISE, NOISE_PX, SPEED, ACCELERATION = 10.0, 0.05, 1.0, 2.0, 3.0
MOTION = np.array(
    [[float(row == column or column == row + 4) for column in range(8)] for row in range(8)]
)


def box_filter() -> BoxKalmanFilter:
    return BoxKalmanFilter(
        RATE, noise=NOISE, noise_px=NOISE_PX, speed=SPEED, acceleration=ACCELERATION
    )


def random_boxes(seed: int, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(0, 500, (count, 2)), rng.uniform(0.3, 60, (count, 2))], axis=1
    )


def measurement_noise(box) -> np.ndarray:
    width, height = max(box[2], 1), max(box[3], 1)
    x = np.sqrt((NOISE * width) ** 2 + NOISE_PX**2)
    y = np.sqrt((NOISE * height) ** 2 + NOISE_PX**2)
    return np.diag([x, y, 1.4 * x, 1.4 * y]) ** 2


def process_noise(box) -> np.ndarray:
    side = np.sqrt(max(box[2], 1) * max(box[3], 1))
    change = side * ACCELERATION / RATE**2
    return np.diag([0.5, 0.5, 0.2, 0.2, 1, 1, 0.2, 0.2]) ** 2 * change**2


def test_a_new_track_is_at_rest_and_uncertain_by_its_size():
    mean, covariance = box_filter().start(np.array([[50.0, 40, 20, 10], [1, 2, 0.1, 0.1]]))
    assert mean.tolist() == [[50, 40, 20, 10, 0, 0, 0, 0], [1, 2, 0.1, 0.1, 0, 0, 0, 0]]
    for one, box in zip(covariance, mean, strict=True):
        side = np.sqrt(max(box[2], 1) * max(box[3], 1)) * SPEED / RATE
        np.testing.assert_allclose(one[:4, :4], 4 * measurement_noise(box))
        np.testing.assert_allclose(one[4:, 4:], np.diag([side, side, 0.3 * side, 0.3 * side]) ** 2)
        assert not one[:4, 4:].any()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_predictions_and_corrections_match_the_textbook(seed, frames):
    many, boxes = box_filter(), random_boxes(seed)
    mean, covariance = many.start(boxes)
    mean[:, 4:] = np.random.default_rng(seed).normal(0, 2, (len(boxes), 4))
    detected = boxes + np.random.default_rng(seed + 1).normal(0, 1, boxes.shape)
    predicted = many.predict(mean.copy(), covariance.copy(), frames)
    corrected = many.correct(*predicted, detected)
    for row in range(len(boxes)):
        x, p = mean[row], covariance[row]
        for _ in range(frames):
            p = MOTION @ p @ MOTION.T + process_noise(x)
            x = MOTION @ x
        x[2:4] = np.maximum(x[2:4], 1)
        np.testing.assert_allclose(predicted[0][row], x, atol=1e-9)
        np.testing.assert_allclose(predicted[1][row], p, atol=1e-9)
        gain = p[:, :4] @ np.linalg.inv(p[:4, :4] + measurement_noise(x))
        np.testing.assert_allclose(corrected[0][row], x + gain @ (detected[row] - x[:4]), atol=1e-7)
        np.testing.assert_allclose(corrected[1][row], p - gain @ p[:4], atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_a_warped_state_is_the_homography_and_its_derivative(seed):
    """Held against differences: of where the centre is, and where it is a little later."""
    rng = np.random.default_rng(seed)
    homography = np.eye(3) + rng.normal(0, 1, (3, 3)) * [
        [0.02, 0.02, 9],
        [0.02, 0.02, 9],
        [2e-5, 2e-5, 0],
    ]
    mean, covariance = box_filter().start(random_boxes(seed))
    mean[:, 4:6] = rng.normal(0, 5, (len(mean), 2))
    warped, spread = BoxKalmanFilter.warp(mean, covariance, homography)
    np.testing.assert_allclose(warped[:, :2], warp_points(mean[:, :2], homography))
    step = 1e-5
    later = warp_points(mean[:, :2] + step * mean[:, 4:6], homography)
    np.testing.assert_allclose(warped[:, 4:6], (later - warped[:, :2]) / step, rtol=1e-3, atol=1e-3)
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]) * 1e-3
    for row in range(len(mean)):
        x, y = warp_points(mean[row, :2] + corners, homography).T
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        zoom = np.sqrt(area) / 1e-3
        np.testing.assert_allclose(warped[row, 2:4], mean[row, 2:4] * zoom, rtol=1e-3)
        assert spread[row, 2, 2] == pytest.approx(covariance[row, 2, 2] * zoom**2, rel=1e-3)


def test_no_tracks_give_no_tracks():
    many, nothing = box_filter(), np.zeros((0, 4))
    state = many.start(nothing)
    for mean, covariance in (
        state,
        many.predict(*state, 3),
        many.correct(*state, nothing),
        many.warp(*state, np.eye(3)),
    ):
        assert (mean.shape, covariance.shape) == ((0, 8), (0, 8, 8))
