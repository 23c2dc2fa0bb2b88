"""Places on level ground: golden figures, first-order errors against drawn ones, reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from yolo_ema.geo.box_base import Bases
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.class_sizes import CLASS_SIZES, BodySize
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.ground import REASONS, LevelGround
from yolo_ema.geo.placing import place_bases, place_boxes
from yolo_ema.geo.uncertainty import CHI2_95, PoseSigmas, ellipse_of
from yolo_ema.geo.views import Views

CAMERA = CameraIntrinsics(1920, 1080, 1500.0, 960.0, 540.0)
LENS = CameraIntrinsics(1920, 1080, 1500.0, 965.0, 531.0, (-0.02, 0.01, 0.001, -0.0005, 0.002))
LEVEL = LevelGround()
FRAME = LocalFrame(47.1234, 8.7654)


def views(count: int = 1, **values) -> Views:
    pose = {
        "latitude_deg": 47.1234,
        "longitude_deg": 8.7654,
        "height_m": 100.0,
        "yaw_deg": 0.0,
        "pitch_deg": -45.0,
        "roll_deg": 0.0,
    } | values
    return Views(**{name: np.full(count, 1.0) * value for name, value in pose.items()})


def placed(pixels, poses: Views, camera=CAMERA, ground=LEVEL, **settings):
    pixels = np.broadcast_to(np.asarray(pixels, float), (len(poses), 2))
    settings = {
        "sigmas": PoseSigmas(),
        "pixel_covariances": np.tile(np.eye(2) * 4.0, (len(poses), 1, 1)),
        "max_error_m": np.inf,
    } | settings
    bases = Bases.of_pixels(pixels, settings.pop("pixel_covariances"))
    return place_bases(bases, poses, [camera] * len(poses), ground, **settings)


def metres(pixels, poses: Views, **settings) -> np.ndarray:
    found = placed(pixels, poses, **settings)
    assert set(found.reasons) == {""}
    return FRAME.to_metres(found.latitude_deg, found.longitude_deg)


def slow_place(pixel, camera: CameraIntrinsics, pose: dict[str, float]) -> np.ndarray:
    """Metres east and north, by turning the camera about one axis after the other."""
    yaw, pitch, roll = np.radians([pose["yaw_deg"], pose["pitch_deg"], pose["roll_deg"]])
    x, y = camera.to_rays(np.array([pixel]))[0]
    ray = np.array([x, 1.0, -y])  # a level camera looks north: right is east, down is below
    cos, sin = np.cos(roll), np.sin(roll)
    ray = np.array([cos * ray[0] - -sin * ray[2], ray[1], -sin * ray[0] + cos * ray[2]])
    cos, sin = np.cos(pitch), np.sin(pitch)
    ray = np.array([ray[0], cos * ray[1] - sin * ray[2], sin * ray[1] + cos * ray[2]])
    cos, sin = np.cos(yaw), np.sin(yaw)
    ray = np.array([cos * ray[0] + sin * ray[1], -sin * ray[0] + cos * ray[1], ray[2]])
    return ray[:2] * (pose["height_m"] / -ray[2])


@pytest.mark.parametrize(
    ("pitch_deg", "per_pitch", "per_yaw", "per_height"),
    [
        (-90, 1.75, 0, 0),
        (-60, 2.35, 1.0, 2.9),
        (-45, 3.55, 1.75, 5),
        (-30, 7.2, 3.0, 8.7),
        (-20, 15.7, 4.8, 13.7),
    ],
)
def test_golden_metres_of_error_at_100_m(pitch_deg, per_pitch, per_yaw, per_height):
    start = views(pitch_deg=pitch_deg)
    here = metres((960, 540), start)

    def moved(**values):
        return np.hypot(*(metres((960, 540), replace(start, **values)) - here)[0])

    assert moved(pitch_deg=start.pitch_deg + 1) == pytest.approx(per_pitch, abs=0.05)
    assert moved(yaw_deg=start.yaw_deg + 1) == pytest.approx(per_yaw, abs=0.05)
    assert moved(height_m=start.height_m + 5) == pytest.approx(per_height, abs=0.05)


@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_places_are_those_of_three_turns_one_after_the_other(camera):
    rng = np.random.default_rng(5)
    for _ in range(40):
        pose = {
            "height_m": rng.uniform(20, 200),
            "yaw_deg": rng.uniform(-180, 180),
            "pitch_deg": rng.uniform(-90, -50),
            "roll_deg": rng.uniform(-15, 15),
        }
        pixel = rng.uniform((0, 0), (1920, 1080))
        found = metres(pixel, views(**pose), camera=camera)[0]
        np.testing.assert_allclose(found, slow_place(pixel, camera, pose), atol=1e-5)


def test_yaw_turns_clockwise_and_right_in_the_image_is_right():
    assert metres((960, 540), views(yaw_deg=90))[0] == pytest.approx([100, 0], abs=1e-4)
    east_of_north = metres((1460, 540), views())[0]
    assert east_of_north == pytest.approx([100 * np.sqrt(2) / 3, 100], abs=1e-4)
    # The right side goes down: what is on the right lies nearer.
    assert metres((1460, 540), views(roll_deg=5))[0][1] < 100


def test_ground_above_the_take_off_point_is_nearer():
    assert metres((960, 540), views(), ground=LevelGround(20.0))[0] == pytest.approx([0, 80])


def test_changes_are_differences():
    rng = np.random.default_rng(2)
    n, step = 50, 1e-3
    poses = views(
        n,
        height_m=rng.uniform(40, 150, n),
        yaw_deg=rng.uniform(-180, 180, n),
        pitch_deg=rng.uniform(-90, -45, n),
        roll_deg=rng.uniform(-10, 10, n),
    )
    pixels = rng.uniform((100, 100), (1800, 1000), (n, 2))
    found = placed(pixels, poses, camera=LENS).pose_changes
    for column, name in enumerate(("height_m", "yaw_deg", "pitch_deg", "roll_deg"), start=2):
        sides = [
            metres(
                pixels, replace(poses, **{name: getattr(poses, name) + sign * step}), camera=LENS
            )
            for sign in (1, -1)
        ]
        unit = 1 if name == "height_m" else np.radians(1)
        difference = (sides[0] - sides[1]) / (2 * step * unit)
        np.testing.assert_allclose(found[:, :, column], difference, rtol=1e-3, atol=0.02)
    half_view = np.arctan(960 / LENS.focal_px)
    sides = [
        metres(pixels, poses, camera=replace(LENS, focal_px=960 / np.tan(half_view + sign * 1e-5)))
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(found[:, :, 6], (sides[0] - sides[1]) / 4e-5, rtol=1e-3, atol=0.02)
    np.testing.assert_allclose(found[:, :, :2], np.tile(np.eye(2), (n, 1, 1)), atol=1e-9)


@pytest.mark.parametrize(
    ("pitch_deg", "pixel"), [(-90, (300, 900)), (-60, (960, 540)), (-40, (1500, 800))]
)
def test_ellipses_hold_95_percent_of_drawn_errors(pitch_deg, pixel):
    rng = np.random.default_rng(7)
    n, sigmas = 20_000, PoseSigmas(1.0, 1.5, 1.0, 0.4, 0.4, 0.0)
    exact = views(pitch_deg=pitch_deg, yaw_deg=30, roll_deg=3)
    found = placed(pixel, exact, sigmas=sigmas)
    truth = FRAME.to_metres(found.latitude_deg, found.longitude_deg)[0]
    noisy = views(
        n,
        pitch_deg=pitch_deg + rng.normal(0, sigmas.pitch_deg, n),
        yaw_deg=30 + rng.normal(0, sigmas.yaw_deg, n),
        roll_deg=3 + rng.normal(0, sigmas.roll_deg, n),
        height_m=100 + rng.normal(0, sigmas.height_m, n),
    )
    drawn = metres(np.asarray(pixel) + rng.normal(0, 2, (n, 2)), noisy)
    off = drawn + rng.normal(0, sigmas.position_m, (n, 2)) - truth
    np.testing.assert_allclose(np.cov(off.T), found.covariances[0], rtol=0.06, atol=0.05)
    inside = np.einsum("ni,ij,nj->n", off, np.linalg.inv(found.covariances[0]), off) <= CHI2_95
    assert inside.mean() == pytest.approx(0.95, abs=0.01)


def test_an_ellipses_axes_and_azimuth():
    turn = np.radians(30)
    axis = np.array([np.sin(turn), np.cos(turn)])
    across = np.array([axis[1], -axis[0]])
    covariance = 9 * np.outer(axis, axis) + 4 * np.outer(across, across)
    major, minor, azimuth = ellipse_of(covariance[None])
    assert major[0] == pytest.approx(3 * np.sqrt(CHI2_95))
    assert minor[0] == pytest.approx(2 * np.sqrt(CHI2_95))
    assert azimuth[0] == pytest.approx(30)


@pytest.mark.parametrize(
    ("values", "pixel", "reason"),
    [
        ({"pitch_deg": 0.0}, (960, 500), "above_horizon"),
        ({"pitch_deg": 0.0}, (960, 560), "near_horizon"),
        ({"height_m": -3.0}, (960, 540), "below_ground"),
        ({"pitch_deg": -12.0}, (960, 540), "error_too_large"),
    ],
)
def test_what_cannot_be_placed_says_why(values, pixel, reason):
    found = placed(pixel, views(**values), max_error_m=25.0)
    assert found.reasons.tolist() == [reason]
    assert reason in REASONS
    assert np.isnan([found.latitude_deg[0], found.longitude_deg[0]]).all()


def test_far_outside_a_lens_there_is_no_place():
    folding = replace(LENS, brown=(-0.26, 0.1, 0.0, 0.0, -0.026))
    assert placed((9e4, 9e4), views(), camera=folding).reasons.tolist() == ["outside_lens_model"]


def _box_of(size_m, at_en, pose: Views, camera=CAMERA) -> list[float]:
    """Return the box around a block of this length, width and height on the ground."""
    corners = np.array(
        [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)]
    ) * size_m + (*at_en, 0)
    offsets = corners - (0, 0, pose.height_m[0])
    pixels = camera.to_pixels(views(8, **_values(pose)).rays_to(offsets))
    return [*pixels.min(axis=0), *pixels.max(axis=0)]


def _high(high_m: float) -> BodySize:
    """Return the size of blocks of this height."""
    return BodySize(high_m, 0.25 * high_m, 0.0)


def _values(pose: Views) -> dict[str, float]:
    return {name: float(getattr(pose, name)[0]) for name in pose.__dataclass_fields__}


def _off(size_m, pitch_deg: float, roll_deg: float = 0, east_m: float = 7, camera=CAMERA) -> float:
    """Return by how many metres the box of a block is placed beside the block's middle."""
    pose = views(pitch_deg=pitch_deg, roll_deg=roll_deg, height_m=60)
    at_en = (east_m, 60 / np.tan(np.radians(-pitch_deg)) + 5.0)
    found = place_boxes(
        [_box_of(size_m, at_en, pose, camera)],
        pose,
        [camera],
        LEVEL,
        sigmas=PoseSigmas(),
        sizes=[_high(size_m[2])],
    )
    here = FRAME.to_metres(found.latitude_deg, found.longitude_deg)[0]
    return float(np.hypot(*(here - at_en)))


@pytest.mark.parametrize("pitch_deg", [-90, -75, -60, -45, -30])
def test_a_box_stands_below_the_middle_of_its_object_however_long(pitch_deg):
    for size_m in [(4.5, 1.8, 1.3), (1.8, 4.5, 1.3), (0.5, 0.5, 1.3), (2.5, 12, 3), (12, 2.5, 3)]:
        assert _off(size_m, pitch_deg, east_m=0) < 0.005, size_m
        assert _off(size_m, pitch_deg, camera=LENS) < 0.12, size_m
        assert _off(size_m, pitch_deg, roll_deg=12) < 0.15, size_m  # askew in the image


def test_a_box_that_floats_stands_below_where_it_floats():
    pose = views(pitch_deg=-40, height_m=60)
    low = np.array(_box_of((0.6, 0.6, 1.0), (2.0, 70.0), pose))
    high = np.array(_box_of((0.6, 0.6, 1.6), (2.0, 70.0), pose))
    box = [*high[:2], high[2], _box_of((0.6, 0.6, 0.6), (2.0, 70.0), pose)[1]]
    assert low[1] < box[3] < low[3]  # its lower edge is off the ground
    size = _high(1.6)._replace(low_m=0.6)
    found = place_boxes([box], pose, [CAMERA], LEVEL, sigmas=PoseSigmas(), sizes=[size])
    here = FRAME.to_metres(found.latitude_deg, found.longitude_deg)[0]
    assert np.hypot(*(here - (2.0, 70.0))) < 0.35


def test_boxes_that_no_object_could_have_are_placed_at_the_lower_edge_or_not_at_all():
    pose = views(3, pitch_deg=-20, height_m=10)
    boxes = [
        [900, -3000, 1000, 700],  # up over the horizon, higher than a car can be
        [900, 700, 900, 700],  # without a size
        [900, -900, 1000, -800],  # wholly above the horizon
    ]
    found = place_boxes(
        boxes, pose, [CAMERA] * 3, LEVEL, sigmas=PoseSigmas(), sizes=[CLASS_SIZES["car"]] * 3
    )
    assert found.reasons.tolist() == ["", "", "above_horizon"]
    np.testing.assert_allclose(found.pixels_xy[0], (950, 700))
    assert np.abs(found.pixels_xy[1] - (900, 700)).max() < 1


def _base_of(pitch_deg: float, height_m: float, **settings) -> np.ndarray:
    found = place_boxes(
        [[940, 500, 980, 580]],
        views(pitch_deg=pitch_deg),
        [CAMERA],
        LevelGround(),
        sigmas=PoseSigmas(),
        sizes=[_high(height_m)],
        **settings,
    )
    return found.pixels_xy[0]


@pytest.mark.parametrize("height_m", [np.nan, 100.0])
def test_the_base_is_the_lower_edge_in_flat_views_and_the_middle_from_above(height_m):
    assert _base_of(-30, height_m) == pytest.approx([960, 580])
    assert _base_of(-90, np.nan) == pytest.approx([960, 540])
    assert _base_of(-90, 1.5) == pytest.approx([960, 540])


@pytest.mark.parametrize("height_m", [np.nan, 1.5])
def test_the_base_moves_smoothly_with_the_angle(height_m):
    ways = [_base_of(pitch, height_m)[1] - 540 for pitch in np.arange(-90.0, -20.0, 1)]
    # Farther away an object of one height is smaller in the image.
    assert not np.isnan(height_m) or np.all(np.diff(ways) >= -1e-6)
    assert np.abs(np.diff(ways)).max() < 2.0
    assert 0 <= min(ways) <= max(ways) <= 40


def test_the_base_can_be_stated():
    assert _base_of(-60, 1.5, base="bottom") == pytest.approx([960, 580])
    assert _base_of(-60, 1.5, base="centre") == pytest.approx([960, 540])
