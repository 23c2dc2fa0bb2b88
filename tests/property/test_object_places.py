"""Places of objects, held against slow forms that look for them in another way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from flown_lot import HOME, Standing, box_of, camera_at, fly
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from yolo_ema.geo.class_sizes import CLASS_SIZES
from yolo_ema.geo.fixes import Fixes, mean_fix
from yolo_ema.geo.objects import map_objects
from yolo_ema.geo.sightings import locate_source
from yolo_ema.options.mapping import MapOptions
from yolo_ema.scenes.camera import Camera

BOUNDED = settings(max_examples=25, deadline=None)
FADES_S, JUMPS, OF_ONE_SIDE = 60.0, 0.1, 0.8
EXACT = MapOptions(
    sigma_position=0, sigma_height=0, sigma_yaw=0, sigma_pitch=0, sigma_roll=0, sigma_hfov=0
)
seeds = st.integers(0, 2**32 - 1)


def _fixes(rng: np.random.Generator, count: int) -> Fixes:
    """Return positions with errors of all kinds."""
    roots = rng.normal(0, 0.3, (count, 2, 2))
    return Fixes(
        moments_s=np.sort(rng.uniform(0, 90, count)),
        metres_en=rng.normal(0, 1, (count, 2)),
        box_covariances=roots @ np.swapaxes(roots, 1, 2) + 0.02 * np.eye(2),
        by_height=rng.normal(0, 0.5, (count, 2)),
        heights_m=np.tile((2.0, 0.4), (count, 1)),
        by_shape=rng.normal(0, 0.2, (count, 2, 2)),
        pose_roots=rng.normal(0, 0.8, (count, 2, 7)),
        tracklets=np.sort(rng.integers(0, 2, count)),
        clocks=np.zeros(count, int),
    )


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def _slow_place(fixes: Fixes) -> tuple[np.ndarray, np.ndarray]:
    """Look for the place together with every single error, each of deviation 1: of the poses those
    that stay, fade and jump; of the boxes those of a tracklet and each one's own; the height; the
    shape, which is a constant and a part that turns with the side it is seen from.
    """
    count = len(fixes)
    apart = np.abs(np.subtract.outer(fixes.moments_s, fixes.moments_s))
    fading = np.linalg.cholesky(np.exp(-apart / FADES_S) + 1e-9 * np.eye(count))
    _, tracklet = np.unique(fixes.tracklets, return_inverse=True)
    sizes = (2, 7, 7 * count, 7 * count, 4, 1, 2, 4, 2 * count)
    ends = np.cumsum(sizes)

    def residuals(unknown: np.ndarray) -> np.ndarray:
        place, stays, fades, jumps, boxes, taller, even, odd, shapes = np.split(unknown, ends[:-1])
        fades = fading @ fades.reshape(count, 7)
        rest = []
        for row in range(count):
            gone = np.sqrt(0.5) * (stays + fades[row])
            gone = np.sqrt(1 - JUMPS) * gone + np.sqrt(JUMPS) * jumps.reshape(count, 7)[row]
            root = np.sqrt(0.5) * _root(fixes.box_covariances[row])
            expected = place + fixes.pose_roots[row] @ gone
            expected = expected + fixes.by_height[row] * fixes.heights_m[row, 1] * taller
            expected = expected + root @ boxes.reshape(2, 2)[tracklet[row]]
            for number, way in enumerate(fixes.by_shape[row]):
                side = way / np.hypot(*way)
                alike = np.sqrt(0.5) * (even[number] + odd.reshape(2, 2)[number] @ side)
                own = shapes.reshape(count, 2)[row, number]
                expected = expected + way * (
                    np.sqrt(OF_ONE_SIDE) * alike + np.sqrt(1 - OF_ONE_SIDE) * own
                )
            rest.append(np.linalg.solve(root, fixes.metres_en[row] - expected))
        return np.concatenate([*rest, unknown[2:]])

    found = least_squares(residuals, np.zeros(ends[-1]), method="trf")
    return found.x[:2], np.linalg.inv(found.jac.T @ found.jac)[:2, :2]


@BOUNDED
@given(seed=seeds, count=st.integers(1, 4))
def test_a_place_is_what_a_search_for_every_single_error_finds(seed, count):
    fixes = _fixes(np.random.default_rng(seed), count)
    place, covariance = mean_fix(fixes, rounds=1)
    slow_place, slow_covariance = _slow_place(fixes)
    np.testing.assert_allclose(place, slow_place, atol=2e-3)
    np.testing.assert_allclose(covariance, slow_covariance, rtol=1e-2, atol=1e-4)


@BOUNDED
@given(seed=seeds)
def test_the_order_of_positions_does_not_matter_and_copies_add_nothing_of_poses(seed):
    rng = np.random.default_rng(seed)
    fixes = _fixes(rng, 8)
    place, covariance = mean_fix(fixes)
    turned, turned_covariance = mean_fix(fixes[rng.permutation(8)])
    np.testing.assert_allclose(turned, place, atol=1e-6)
    np.testing.assert_allclose(turned_covariance, covariance, atol=1e-6)
    # What all positions share in the same way stays, however many there are.
    shifted = replace(fixes, pose_roots=np.tile(np.eye(2, 7), (8, 1, 1)))
    _, covariance = mean_fix(shifted)
    assert np.linalg.eigvalsh(covariance).min() > 0.5 * (1 - JUMPS)


@BOUNDED
@given(seed=seeds, far_m=st.floats(5, 500))
def test_one_wrong_position_moves_an_object_little(seed, far_m):
    rng = np.random.default_rng(seed)
    fixes = _fixes(rng, 12)
    noise = 0.1 * rng.normal(0, 1, (12, 2))
    still = replace(fixes, metres_en=noise, pose_roots=0 * fixes.pose_roots)
    place, covariance = mean_fix(still)
    noise[5] += far_m * np.array([0.6, -0.8])
    moved, _ = mean_fix(replace(still, metres_en=noise))
    assert np.hypot(*(moved - place)) < 3 * np.sqrt(np.linalg.eigvalsh(covariance).max())


def _slow_block(
    cameras: list[Camera], boxes: list[np.ndarray], start: Standing, sigma_px: float
) -> np.ndarray:
    """Return the place of the block, of any size and heading, whose corners fill the boxes best."""
    prior = CLASS_SIZES[start.class_name]

    def residuals(unknown: np.ndarray) -> np.ndarray:
        east, north, heading, length, width, high = unknown
        block = Standing("truck", east, north, heading, size_m=(length, width, high))
        rest = [(high - prior.high_m) / prior.sigma_m]
        for camera, box in zip(cameras, boxes, strict=True):
            pixels, _ = camera.project(block.corners(0.0))
            edges = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
            rest.extend((edges - box) / sigma_px)
        return np.array(rest)

    found = least_squares(
        residuals, [start.east_m, start.north_m, start.heading, *start.size_m], x_scale=0.1
    )
    return found.x[:2]


@settings(max_examples=12, deadline=None)
@given(seed=seeds, taller=st.floats(-2, 2))
def test_a_block_of_unknown_height_lies_where_a_search_for_the_whole_block_finds_it(seed, taller):
    """Seen from several sides, its height follows from how its places contradict each other."""
    rng = np.random.default_rng(seed)
    size = CLASS_SIZES["truck"]
    length, width = rng.uniform(5, 10), rng.uniform(2.2, 2.6)
    block = Standing(
        "truck", *rng.uniform(-3, 3, 2), rng.uniform(0, np.pi),
        size_m=(length, width, size.high_m + taller * size.sigma_m),
    )  # fmt: skip
    bearing = rng.uniform(0, 360)

    def camera_of(time_s: float) -> Camera:
        yaw = bearing + 30 * time_s
        back = 45.0
        east, north = (-back * f(math.radians(yaw)) for f in (math.sin, math.cos))
        return camera_at(east, north, 50, yaw, -48)

    frames = fly([block], camera_of, seconds=12, fps=1)
    cameras = [camera_of(frame.time_s) for frame in frames if len(frame.scores)]
    boxes = [box for camera in cameras if (box := box_of(block, camera, 0.0)) is not None]
    (found,) = map_objects([locate_source(frames, EXACT)])
    place = HOME.to_metres(found.latitude_deg, found.longitude_deg)
    assert np.hypot(*(place - block.at(0.0))) < 0.08
    slow = _slow_block(cameras, boxes, block, 2.0)
    assert np.hypot(*(place - slow)) < 0.08
