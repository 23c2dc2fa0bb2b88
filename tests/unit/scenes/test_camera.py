"""The camera against a pinhole written out by hand, and its inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from yolo_ema.scenes.camera import Camera


@pytest.fixture
def camera() -> Camera:
    return Camera((3.0, -2.0), 60.0, 0.7, math.radians(52), (640, 360))


def test_target_lies_in_the_middle(camera):
    pixels, depths = camera.project(np.array([[3.0, -2.0, 0.0]]))
    assert pixels[0] == pytest.approx((320, 180))
    assert depths[0] == pytest.approx(60)


def test_straight_down_is_a_map():
    camera = Camera((0.0, 0.0), 50.0, math.pi / 2, math.pi / 2, (500, 500))
    pixels, _ = camera.project(np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 10.0]]))
    assert pixels[0] == pytest.approx((260, 250)), "east is right where the view is to the north"
    assert pixels[1] == pytest.approx((250, 240)), "north is up"
    assert pixels[2] == pytest.approx((250, 250)), "what is upright below the lens is a point"


def test_higher_points_appear_farther_up(camera):
    pixels, _ = camera.project(np.array([[3.0, -2.0, 0.0], [3.0, -2.0, 5.0]]))
    assert pixels[1][1] < pixels[0][1]
    assert pixels[1][0] == pytest.approx(pixels[0][0])


def test_homography_agrees_with_projection(camera):
    ground = np.random.default_rng(0).uniform(-20, 20, (50, 2))
    pixels, _ = camera.project(np.column_stack([ground, np.zeros(50)]))
    mapped = np.column_stack([ground, np.ones(50)]) @ camera.ground_to_image().T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], pixels, atol=1e-9)


def test_corners_of_the_visible_ground_are_the_images_corners(camera):
    corners = np.column_stack([camera.visible_ground(), np.zeros(4)])
    pixels, _ = camera.project(corners)
    np.testing.assert_allclose(pixels, [[0, 0], [640, 0], [640, 360], [0, 360]], atol=1e-6)


def test_visible_ground_ends_somewhere_with_the_horizon_in_view():
    camera = Camera((0.0, 0.0), 60.0, 0.0, math.radians(10), (640, 360))
    assert (
        np.hypot(*(camera.visible_ground(reach=300.0) - camera.position[:2]).T).max() <= 300 + 1e-6
    )
