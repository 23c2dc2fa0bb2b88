"""The camera's motion: known homographies are found, moving objects do not mislead, blank images
give the identity.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.scenes import draw_scene
from yolo_ema.tracking.motion import CameraMotion, warp_points

WH = (960, 540)
CORNERS = np.array([[0, 0], [960, 0], [960, 540], [0, 540], [480, 270]], float)
NOTHING = np.zeros((0, 4))


@pytest.fixture(scope="module")
def scene():
    return draw_scene(5, image_wh=WH, objects=60, crowd=False)


def camera_step(turn: float, zoom: float, shift, tilt) -> np.ndarray:
    """A homography as a camera in flight causes it, around the image's middle."""
    middle = np.array([[1, 0, 480], [0, 1, 270], [0, 0, 1.0]])
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    step = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [tilt[0], tilt[1], 1.0]])
    return middle @ step @ np.linalg.inv(middle)


def moved(image: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """The image after a camera's step; OpenCV counts from the first pixel's centre, as
    `CameraMotion` does.
    """
    return cv2.warpPerspective(
        image, homography, WH, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


@settings(deadline=None, max_examples=15)
@given(
    st.floats(-0.03, 0.03),
    st.floats(0.97, 1.03),
    st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    st.tuples(st.floats(-2e-5, 2e-5), st.floats(-2e-5, 2e-5)),
)
def test_a_known_motion_is_found(scene, turn, zoom, shift, tilt):
    truth = camera_step(turn, zoom, shift, tilt)
    motion = CameraMotion()
    motion.update(scene.image_bgr, NOTHING)
    found = motion.update(moved(scene.image_bgr, truth), NOTHING)
    assert np.abs(warp_points(CORNERS, found) - warp_points(CORNERS, truth)).max() < 1.0


def test_the_first_frame_and_a_still_camera_give_the_identity(scene):
    motion = CameraMotion()
    assert np.array_equal(motion.update(scene.image_bgr, NOTHING), np.eye(3))
    assert (
        np.abs(warp_points(CORNERS, motion.update(scene.image_bgr, NOTHING)) - CORNERS).max() < 0.02
    )


def test_moving_objects_do_not_mislead():
    """A textured block covers most of the image and moves; masked out, what little ground is left
    decides.
    """
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (*WH[::-1], 3), dtype=np.uint8), (0, 0), 2)
    ground = cv2.normalize(ground, None, 0, 255, cv2.NORM_MINMAX)
    block = cv2.normalize(
        cv2.GaussianBlur(rng.integers(0, 256, (400, 800, 3), dtype=np.uint8), (0, 0), 2),
        None,
        0,
        255,
        cv2.NORM_MINMAX,
    )
    before, after = ground.copy(), ground.copy()
    before[70:470, 60:860] = block
    after[70:470, 72:872] = block
    results = []
    for boxes in ([[60, 70, 860, 470]], []):
        motion = CameraMotion()
        motion.update(before, np.array(boxes).reshape(-1, 4))
        results.append(np.abs(warp_points(CORNERS, motion.update(after, NOTHING)) - CORNERS).max())
    assert results[0] < 0.5
    assert results[1] > 5, (
        "without the mask the block is taken for the ground: the mask is what helps"
    )


def test_blank_images_and_other_sizes_give_the_identity(scene):
    motion = CameraMotion()
    blank = np.full((*WH[::-1], 3), 90, np.uint8)
    for image in (
        scene.image_bgr,
        blank,
        blank,
        scene.image_bgr[:300],
        scene.image_bgr,
        np.zeros((1, 1, 3), np.uint8),
        scene.image_bgr,
    ):
        assert np.array_equal(motion.update(image, NOTHING), np.eye(3))


def test_another_scene_gives_the_identity(scene):
    motion = CameraMotion()
    motion.update(scene.image_bgr, NOTHING)
    other = draw_scene(6, image_wh=WH, objects=30, crowd=False).image_bgr
    homography = motion.update(other, NOTHING)
    assert np.array_equal(homography, np.eye(3))


def test_boxes_beyond_the_image_are_no_problem(scene):
    motion = CameraMotion()
    for _ in range(2):
        motion.update(
            scene.image_bgr, np.array([[-50, -50, 2000, 100], [900, 500, 1e6, 1e6], [5, 5, 5, 5]])
        )
