from __future__ import annotations

import cv2
import numpy as np
import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.geo.camera import CAMERAS, CameraIntrinsics, KnownCamera, known_camera

BROWN = (-0.2641, 0.1019, 0.00073, 0.00026, -0.0258)
CAMERA = CameraIntrinsics(1368, 912, 911.7, 681.9, 462.5, BROWN)


def whole_frame(camera: KnownCamera, width_px: int, height_px: int) -> CameraIntrinsics:
    """Return a camera whose frames are as wide as its sensor: not cut, no zoom."""
    return CameraIntrinsics.from_35mm(
        width_px, height_px, camera.focal_35mm, sensor_aspect=camera.sensor_aspect
    )


def test_distortion_is_opencvs():
    rays = np.random.default_rng(0).uniform(-0.7, 0.7, (200, 2))
    matrix = np.array([[911.7, 0, 681.9], [0, 911.7, 462.5], [0, 0, 1.0]])
    expected, _ = cv2.projectPoints(
        np.column_stack([rays, np.ones(200)]), np.zeros(3), np.zeros(3), matrix, np.array(BROWN)
    )
    np.testing.assert_allclose(CAMERA.to_pixels(rays), expected[:, 0], atol=1e-9)


def test_rays_are_the_inverse_all_over_the_frame():
    pixels = np.random.default_rng(1).uniform((0, 0), (1368, 912), (500, 2))
    np.testing.assert_allclose(CAMERA.to_pixels(CAMERA.to_rays(pixels)), pixels, atol=1e-8)


def test_where_the_distortion_folds_there_is_no_ray():
    assert np.isnan(CAMERA.to_rays(np.array([[-20000.0, 9e5], [3e3, -4e3]]))).all()
    assert np.isfinite(CAMERA.to_rays(np.array([[0.0, 0.0]]))).all()


def test_tangential_distortion_folds_too():
    camera = CameraIntrinsics(
        1000, 1000, 800.0, 500.0, 500.0, (-0.466, -0.0096, 0.0054, 0.019, 0.0665)
    )
    seen = np.array([[-0.3337, -0.5102]]) * 800 + 500
    assert np.isnan(camera.to_rays(seen)).all()
    assert np.isfinite(camera.to_rays(np.array([[500.0, 500.0], [400.0, 350.0]]))).all()


@pytest.mark.parametrize(("aspect", "hfov_deg"), [((4000, 3000), 71.6), ((3600, 2400), 73.7)])
def test_equivalents_of_35_mm_go_by_the_diagonal(aspect, hfov_deg):
    assert CameraIntrinsics.from_35mm(*aspect, 24).hfov_deg == pytest.approx(hfov_deg, abs=0.05)


def test_a_video_is_as_wide_as_the_sensor_that_the_equivalent_is_of():
    wide = CameraIntrinsics.from_35mm(3840, 2160, 24, sensor_aspect=4 / 3)
    assert wide.hfov_deg == pytest.approx(71.6, abs=0.05)
    assert whole_frame(known_camera("mavic3"), 3840, 2160) == wide


def test_the_field_of_view_is_kept():
    assert CameraIntrinsics.from_hfov(1920, 1080, 63.2).hfov_deg == pytest.approx(63.2)


def test_scaled_frames_have_a_scaled_camera():
    half = CAMERA.scaled_to(684, 456)
    pixels = np.array([[100.0, 200.0], [1300.0, 30.0]])
    np.testing.assert_allclose(half.to_rays(pixels / 2), CAMERA.to_rays(pixels), atol=1e-12)


def test_frames_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match=r"1368x912.*1280x720.*--hfov"):
        CAMERA.scaled_to(1280, 720)


@pytest.mark.parametrize("hfov_deg", [0, 180, -5, float("nan")])
def test_an_impossible_field_of_view_is_refused(hfov_deg):
    with pytest.raises(ConfigError, match="less than 180 degrees"):
        CameraIntrinsics.from_hfov(100, 100, hfov_deg)


def test_an_unknown_camera_is_refused_with_the_closest():
    with pytest.raises(ConfigError, match="mavic3"):
        known_camera("mavic-3")
    assert all(20 < whole_frame(camera, 400, 300).hfov_deg < 90 for camera in CAMERAS.values())
