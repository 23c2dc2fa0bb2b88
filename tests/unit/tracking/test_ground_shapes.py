"""Lines and zones on the ground under a camera that flies over them: exact homographies, the ground
in metres as the truth.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.tracking.clipping import (
    clip_polygon,
    clip_segment,
    homogeneous,
    oriented,
    window_around,
)
from yolo_ema.tracking.counting import Counter
from yolo_ema.tracking.placed_shapes import PlacedLine
from yolo_ema.tracking.shapes import CountLine, Zone

WH = (1280, 720)
NAMES = {0: "car"}


def camera(forward=0.0, *, aside=0.0, height=40.0, down=45.0, yaw=0.0) -> np.ndarray:
    """(3, 3) from the ground (right, forward, 1) in metres to pixels, positive in front."""
    lens = np.array([[1000.0, 0, WH[0] / 2], [0, 1000.0, WH[1] / 2], [0, 0, 1]])
    tilt, turn = np.radians([down, yaw])
    level = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    look = np.array(
        [[1, 0, 0], [0, -np.sin(tilt), -np.cos(tilt)], [0, np.cos(tilt), -np.sin(tilt)]]
    )
    turned = look @ level
    return lens @ np.column_stack([turned[:, :2], -turned @ (aside, forward, height)])


def pixels(view: np.ndarray, ground) -> np.ndarray:
    mapped = homogeneous(np.asarray(ground, float)) @ view.T
    return mapped[..., :2] / mapped[..., 2:]


def drawn(kind, name: str, ground, view=None):
    """The shape that a user draws in the first frame."""
    points = pixels(camera() if view is None else view, ground)
    return kind(name, tuple(map(tuple, points.tolist())), shares=False)


def fly(counter: Counter, views, cars_at, sign=1.0) -> list:
    """Count what each camera sees of the cars, ``cars_at(frame)`` by identity; returns the overlays
    frame by frame.
    """
    overlays = []
    for frame, view in enumerate(views):
        cars = {
            track_id: pixels(view, place)
            for track_id, place in cars_at(frame).items()
            if (homogeneous(np.array(place)) @ view.T)[2] > 0
        }
        seen = {key: at for key, at in cars.items() if (at >= 0).all() and (at < WH).all()}
        boxes = np.array([[*(at - 10), *(at + 10)] for at in seen.values()]).reshape(-1, 4)
        homography = view @ np.linalg.inv(views[frame - 1]) if frame else np.eye(3)
        counter.update(boxes, np.zeros(len(boxes), int), np.array([*seen], int), sign * homography)
        overlays.append(counter.overlays)
    return overlays


def counts(counter: Counter, kind: str, name: str) -> dict[str, int]:
    return {event: sum(by.values()) for event, by in counter.as_json()[kind][name].items()}


LOT = [(-10, 25), (10, 25), (10, 50), (-10, 50)]
NOTHING = {"now": 0, "entered": 0, "left": 0, "visitors": 0}


@pytest.mark.parametrize("sign", [1.0, -1.0, 7.0])
def test_a_zone_that_passes_below_and_behind_the_camera_counts_nothing(sign):
    rng = np.random.default_rng(0)
    parked = {track_id: (rng.uniform(-15, 15), 60 + 8.0 * track_id) for track_id in range(1, 30)}
    counter = Counter(zones=[drawn(Zone, "lot", LOT)], image_wh=WH, names=NAMES)
    overlays = fly(counter, [camera(float(y)) for y in range(140)], lambda _frame: parked, sign)
    assert counts(counter, "zones", "lot") == NOTHING
    assert counter.as_json()["objects"]["car"] > 10
    assert all(len(frame[0][1]) >= 4 for frame in overlays[:40])
    assert all(len(frame[0][1]) == 0 for frame in overlays[60:])


def test_a_line_partly_behind_the_camera_counts_on_what_is_left_of_it_alone():
    """At 100 m what is nearer than 60 m is behind the camera, and 119 to 185 m are in view."""
    lines = [
        drawn(CountLine, "short", [(0, 25), (0, 80)]),
        drawn(CountLine, "long", [(0, 25), (0, 150)]),
    ]
    counter = Counter(lines, image_wh=WH, names=NAMES)
    overlays = fly(
        counter,
        [camera(float(y)) for y in (*range(100), *[100] * 21)],
        lambda frame: {1: (frame - 110, 130), 2: (110 - frame, 160)} if frame >= 100 else {},
    )
    assert counts(counter, "lines", "short") == {"in": 0, "out": 0}
    # it points away, so what goes right goes in; the second car passes beyond its end
    assert counts(counter, "lines", "long") == {"in": 1, "out": 0}
    (_, short, _), (_, long, _) = overlays[-1]
    assert len(short) == 0
    np.testing.assert_allclose(long[1], pixels(camera(100.0), (0, 150)), atol=1e-6)
    np.testing.assert_allclose(long[:, 0], WH[0] / 2, atol=1e-6)
    assert long[0, 1] == WH[1] + WH[0] / 2


def test_a_line_wholly_behind_the_camera_does_not_count_what_passes_its_extension():
    line = drawn(CountLine, "gate", [(0, 25), (0, 50)])
    counter = Counter([line], image_wh=WH, names=NAMES)
    views = [camera(float(y)) for y in (*range(120), *[120] * 21, *range(119, -1, -1))]
    overlays = fly(counter, views, lambda frame: {1: (np.clip(frame - 130, -10, 10), 160)})
    assert counts(counter, "lines", "gate") == {"in": 0, "out": 0}
    np.testing.assert_allclose(overlays[-1][0][1], pixels(camera(), [(0, 25), (0, 50)]), atol=1e-3)


def test_shapes_that_return_into_view_are_where_they_were_and_know_their_objects():
    counter = Counter(
        [drawn(CountLine, "gate", [(-10, 40), (10, 40)])],
        [drawn(Zone, "lot", LOT)],
        image_wh=WH,
        names=NAMES,
    )
    there_and_back = [*range(140), *range(139, -1, -1)]
    # one stays in the lot, one has crossed the gate and left the lot when the camera is back
    overlays = fly(
        counter,
        [camera(float(y)) for y in there_and_back],
        lambda frame: {1: (-5, 45), 2: (5, 30) if frame < 140 else (5, 60)},
    )
    assert all(len(points) == 0 for _, points, _ in overlays[140])
    for (_, before, _), (_, after, _) in zip(overlays[0], overlays[-1], strict=True):
        np.testing.assert_allclose(after, before, atol=1e-3)
    assert counts(counter, "zones", "lot") == {"now": 1, "entered": 0, "left": 1, "visitors": 2}
    assert counts(counter, "lines", "gate") == {"in": 0, "out": 1}


def test_a_stream_that_grows_takes_its_zones_with_it():
    counter = Counter([], [drawn(Zone, "lot", LOT)], image_wh=WH, names=NAMES)
    x, y = pixels(camera(), (8, 27)) * 8
    inside = np.array([[x - 10, y - 10, x + 10, y + 10]])
    counter.update(inside, np.zeros(1, int), np.ones(1, int), np.diag([8.0, 8.0, 1.0]))
    assert counts(counter, "zones", "lot")["visitors"] == 1


def random_camera(rng: np.random.Generator) -> np.ndarray:
    return camera(
        rng.uniform(-80, 80),
        aside=rng.uniform(-80, 80),
        height=rng.uniform(5, 80),
        down=rng.uniform(5, 90),
        yaw=rng.uniform(0, 360),
    )


def ground_in_view(view: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Places (N, 2) in metres that the camera sees; pixels above the horizon show none."""
    mapped = homogeneous(rng.uniform((0, 0), WH, (count, 2))) @ np.linalg.inv(view).T
    shown = mapped[:, :2] / mapped[:, 2:]
    return shown[(homogeneous(shown) @ view.T)[:, 2] > 0]


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**31))
def test_what_is_inside_on_the_ground_is_inside_in_the_image(seed):
    rng = np.random.default_rng(seed)
    view = random_camera(rng)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    radii = rng.uniform(10, 150, len(angles))  # star-shaped: mostly concave
    border = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    outline = clip_polygon(homogeneous(border) @ view.T, window_around(WH)).astype(np.float32)
    for place in ground_in_view(view, rng, 40):
        truth = cv2.pointPolygonTest(border.astype(np.float32), tuple(place), measureDist=True)
        x, y = pixels(view, place).tolist()
        found = cv2.pointPolygonTest(outline, (x, y), measureDist=True) if len(outline) else -9e9
        if abs(truth) > 0.01 and abs(found) > 0.01:  # not on the border itself
            assert (truth > 0) == (found > 0)


def right_of(first: np.ndarray, second: np.ndarray, place: np.ndarray) -> float:
    (x, y), (u, v) = second - first, place - first
    return float(y * u - x * v)  # the ground's second axis points up where the image's points down


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**31), st.booleans())
def test_what_crosses_on_the_ground_crosses_in_the_image(seed, behind):
    """Also where the object came from may be behind the camera by now."""
    rng = np.random.default_rng(seed)
    view = random_camera(rng)
    ends = rng.uniform(-100, 100, (2, 2))
    line = PlacedLine(ends)
    line.place(view)
    shown = clip_segment(line.now, window_around(WH))
    for place in ground_in_view(view, rng, 20):
        before = rng.uniform(-150, 150, 2) if behind else ground_in_view(view, rng, 200)[0]
        for counted in line.counts.values():
            counted.clear()
        line.sides.clear()
        line.through.clear()
        old, new = (homogeneous(at) @ view.T for at in (before, place))
        line.update(1, None, old, 0.0, 0)
        line.update(1, old, new / new[2], 0.0, 0)
        sides = [np.sign(right_of(*ends, at)) for at in (before, place)]
        ways = [np.sign(right_of(before, place, end)) for end in ends]
        crossed = sides[0] != sides[1] and ways[0] != ways[1]
        found = {way: counted.total() for way, counted in line.counts.items()}
        assert found == {"in": crossed and sides[1] > 0, "out": crossed and sides[1] < 0}
    if len(shown):
        low, high = window_around(WH).reshape(2, 2)
        assert (shown >= low).all()
        assert (shown <= high).all()
        across = homogeneous(shown) @ np.cross(line.now[0], line.now[1])
        np.testing.assert_allclose(across / np.linalg.norm(line.now, axis=1).prod(), 0, atol=1e-6)


def test_shapes_inside_the_window_are_as_they_were():
    square = np.array([(100.0, 200), (300, 200), (300, 400), (100, 400)])
    np.testing.assert_array_equal(clip_polygon(homogeneous(square), window_around(WH)), square)
    np.testing.assert_array_equal(
        clip_segment(homogeneous(square[:2]), window_around(WH)), square[:2]
    )


def test_of_a_homography_and_its_negative_the_one_in_front_is_taken():
    motion = camera(3.0, yaw=5.0) @ np.linalg.inv(camera())
    for scale in (1.0, -1.0, -0.1):
        turned = oriented(scale * motion)
        np.testing.assert_allclose(turned, abs(scale) * motion)
