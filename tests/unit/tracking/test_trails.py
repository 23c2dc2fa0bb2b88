"""Trails: the last seconds, in order, moved with the ground where asked, and no more memory than
that.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.tracking.trails import Trails


def test_a_trail_is_the_centres_of_the_last_seconds():
    trails = Trails(seconds=1.0)
    for step in range(30):
        ways = trails.update(step / 10, np.array([[step, 0, step + 10, 20]]), np.array([7]))
    assert list(ways) == [7]
    np.testing.assert_allclose(ways[7], [[step + 5, 10] for step in range(19, 30)])


def test_without_identity_no_trail_and_gone_ones_fade():
    trails = Trails(seconds=1.0)
    trails.update(0.0, np.array([[0, 0, 2, 2], [4, 4, 6, 6]]), np.array([-1, 3]))
    assert list(trails.update(0.9, np.zeros((0, 4)), np.zeros(0, int))) == [3]
    assert trails.update(1.1, np.zeros((0, 4)), np.zeros(0, int)) == {}
    assert not trails._points


def test_points_follow_the_ground():
    trails = Trails()
    trails.update(0.0, np.array([[0, 0, 10, 10]]), np.array([1]))
    shift = np.array([[1, 0, 30], [0, 1, -4], [0, 0, 1.0]])
    ways = trails.update(0.1, np.array([[30, -4, 40, 6]]), np.array([1]), homography=shift)
    np.testing.assert_allclose(ways[1], [[35, 1], [35, 1]])


def test_a_trail_begins_in_front_of_the_camera():
    """What the camera flew over would be drawn through the sky, from the other side."""
    trails = Trails()
    for step, y in enumerate((950, 450, 200)):
        trails.update(step / 10, np.array([[0, y, 10, y + 20]]), np.array([1]))
    tilt = np.array([[1, 0, 0], [0, 1, 0], [0, -0.002, 1.0]])  # row 500 goes to infinity
    for sign in (1, -1):
        ways = trails.update(0.3, np.zeros((0, 4)), np.zeros(0, int), homography=sign * tilt)
        np.testing.assert_allclose(ways[1][:, 1], [460 / 0.08, 210 / 0.58])
        tilt = np.eye(3)


def test_a_clock_that_restarts_drops_the_trails():
    trails = Trails()
    trails.update(100.0, np.array([[0, 0, 10, 10]]), np.array([1]))
    assert trails.update(0.0, np.zeros((0, 4)), np.zeros(0, int)) == {}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(-1, 5), max_size=6, unique=True), max_size=30))
def test_each_frame_adds_one_point_to_each_identity(frames):
    trails = Trails(seconds=1e9)
    ways = {}
    for index, ids in enumerate(frames):
        ways = trails.update(float(index), np.full((len(ids), 4), float(index)), np.array(ids, int))
    for track_id in range(6):
        expected = [index for index, ids in enumerate(frames) if track_id in ids]
        assert [point[0] for point in ways.get(track_id, [])] == expected
