"""Counting: directions, jitter, gaps, ends of lines, flickering classes, zones, and lines that stay
on the ground.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.errors import ConfigError
from yolo_ema.tracking.counting import Counter
from yolo_ema.tracking.placed_shapes import beyond_image
from yolo_ema.tracking.shapes import CountLine, Zone

NAMES = {0: "pedestrian", 3: "car", 4: "van"}
WH = (640, 480)
LEVEL = CountLine.from_text("gate=100,200,500,200", "")  # from left to right: downwards is in
SQUARE = Zone.from_text("yard=100,100,300,100,300,300,100,300", "")


def box(x: float, y: float, side: float = 20.0) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def walk(
    counter: Counter, points, track_id: int = 1, class_id: int = 3, side: float = 20.0
) -> Counter:
    for x, y in points:
        counter.update(np.array([box(x, y, side)]), np.array([class_id]), np.array([track_id]))
    return counter


def line_counter(line: CountLine = LEVEL, **kwargs) -> Counter:
    return Counter([line], image_wh=WH, names=NAMES, **kwargs)


def crossings(counter: Counter, name: str = "gate") -> tuple[int, int]:
    found = counter.as_json()["lines"][name]
    return sum(found["in"].values()), sum(found["out"].values())


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(300, 150), (300, 190), (300, 230)], (1, 0)),
        ([(300, 230), (300, 190), (300, 150)], (0, 1)),
        ([(300, 150), (300, 250), (300, 150)], (1, 1)),
        ([(300, 150), (300, 197)], (0, 0)),
        ([(50, 150), (50, 250)], (0, 0)),  # past the line's end
        ([(300, 150), (550, 150), (550, 250), (300, 250)], (0, 0)),  # around its end
        (
            [(300, 150), (550, 150), (550, 250), (300, 250), (300, 150)],
            (0, 1),
        ),  # around, then back through
        ([(300, 200), (300, 250)], (0, 0)),  # first seen on the line: where it came from is unknown
        ([(300, 203), (300, 150)], (0, 0)),
    ],
)
def test_directions_and_ends(points, expected):
    assert crossings(walk(line_counter(), points)) == expected


def test_reversing_the_line_swaps_in_and_out():
    points = [(300, 150), (300, 250)]
    other = CountLine.from_text("gate=500,200,100,200", "")
    assert crossings(walk(line_counter(other), points)) == (0, 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-4.9, 4.9), min_size=1, max_size=60), st.sampled_from([(1, 0), (0, 0)]))
def test_jitter_on_the_line_counts_at_most_once(jitter, expected):
    """A quarter of 20 pixels is 5: within them nothing counts, however often the point changes
    sides.
    """
    end = 250 if expected == (1, 0) else 150
    counter = walk(line_counter(), [(300, 150), *((300, 200 + dy) for dy in jitter), (300, end)])
    assert crossings(counter) == expected


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.floats(0, 360))
def test_net_crossings_follow_from_where_objects_end(seed, degrees):
    """On an endless line, in − out is 1, 0 or −1 by the first and last sure side, whatever the way
    between.
    """
    rng = np.random.default_rng(seed)
    turn = np.radians(degrees)
    along = np.array([np.cos(turn), np.sin(turn)]) * 4000
    middle = np.array([320.0, 240.0])
    state = line_counter()
    state._lines["gate"].ends = np.stack([middle - along, middle + along])
    points = np.cumsum(rng.normal(0, 25, (40, 2)), axis=0) + middle
    walk(state, points)
    distances = (along[0] * (points[:, 1] - 240) - along[1] * (points[:, 0] - 320)) / 4000
    sure = np.sign(distances[np.abs(distances) > 5])
    entered, left = crossings(state)
    assert entered - left == ((sure[-1] - sure[0]) / 2 if len(sure) else 0)
    assert entered + left == int((np.diff(sure) != 0).sum())


def test_a_gap_across_the_line_counts():
    counter = walk(line_counter(), [(300, 150)])
    for _ in range(20):
        counter.update(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int))
    assert crossings(walk(counter, [(310, 260)])) == (1, 0)


def test_without_an_identity_nothing_counts():
    counter = walk(line_counter(), [(300, 150), (300, 250)], track_id=-1)
    assert counter.as_json() == {
        "objects": {},
        "lines": {"gate": {"in": {}, "out": {}}},
        "zones": {},
    }


def test_counts_go_by_the_class_seen_most_often():
    counter = line_counter()
    for y, class_id in ((100, 3), (120, 3), (140, 4), (160, 3), (195, 4), (220, 4), (260, 3)):
        walk(counter, [(300, y)], class_id=class_id)
    assert counter.as_json()["lines"]["gate"]["in"] == {"car": 1}
    assert counter.as_json()["objects"] == {"car": 1}


def test_small_boxes_have_a_margin_of_two_pixels():
    assert crossings(walk(line_counter(), [(300, 197.5), (300, 201.9), (300, 197.9)], side=4)) == (
        0,
        0,
    )
    assert crossings(walk(line_counter(), [(300, 197.5), (300, 202.1)], side=4)) == (1, 0)


def test_the_bottom_of_a_box_may_count():
    points = [(300, 186), (300, 196)]  # the bottom goes from 196 to 206, the centre stays above
    assert crossings(walk(line_counter(anchor="bottom"), [(300, 180), *points, (300, 198)])) == (
        1,
        0,
    )
    assert crossings(walk(line_counter(), [(300, 180), *points, (300, 198)])) == (0, 0)


def test_zone_counts():
    counter = Counter(zones=[SQUARE], image_wh=WH, names=NAMES)
    walk(counter, [(50, 200), (200, 200)], track_id=1)
    assert counter.as_json()["zones"]["yard"] == {
        "now": {"car": 1},
        "entered": {"car": 1},
        "left": {},
        "visitors": {"car": 1},
    }
    walk(counter, [(200, 150), (200, 50)], track_id=2, class_id=0)  # was inside when first seen
    found = counter.as_json()["zones"]["yard"]
    assert found == {
        "now": {},
        "entered": {"car": 1},
        "left": {"pedestrian": 1},
        "visitors": {"pedestrian": 1, "car": 1},
    }
    walk(counter, [(200, 200)], track_id=2, class_id=0)
    found = counter.as_json()["zones"]["yard"]
    assert found["now"] == {"pedestrian": 1}
    assert found["visitors"] == {"pedestrian": 1, "car": 1}, (
        "a visitor that comes back is the same visitor"
    )


@pytest.mark.parametrize("side", [20, 40, 60, 80, 200])
def test_boxes_wider_than_a_lane_are_counted_in_it(side):
    lane = Zone.from_text("lane=100,200,500,200,500,230,100,230", "")
    counter = Counter(zones=[lane], image_wh=WH, names=NAMES)
    walk(counter, [(300, y) for y in range(100, 217, 4)], side=side)
    # half of the lane's area by its perimeter is 7 pixels, a quarter of the smallest box 5
    walk(counter, [(300, 230 + dy) for dy in (-4, 4, -4, 4, -15)], side=side)
    found = counter.as_json()["zones"]["lane"]
    car = {"car": 1}
    assert found == {"now": car, "entered": car, "left": {}, "visitors": car}


@pytest.mark.parametrize("anchor", ["centre", "bottom"])
@pytest.mark.parametrize(
    "xyxy", [(300, 430, 340, 480), (637, 200, 640, 240), (0, 200, 3, 240), (300, 0, 340, 3)]
)
@pytest.mark.parametrize(
    "zone",
    [
        "0,0,1,0,1,1,0,1",
        "0,0,639,0,639,479,0,479",
        "0,0,0.5,0,1,0,1,1,0.8,1,0.75,0.9,0.7,1,0,1",
        "0.2,0.5,0,0.6,0,0,0.7,0,0.7,0.1,0.8,0,1,0,1,1,0.1,1",
    ],
)
def test_objects_that_the_images_border_cuts_are_in_a_zone_that_ends_with_it(xyxy, zone, anchor):
    counter = Counter([], [Zone.from_text(zone, "all")], image_wh=WH, names=NAMES, anchor=anchor)
    before = [points.tolist() for _, points, _ in counter.overlays]
    for _ in range(5):
        counter.update(np.array([xyxy]), np.array([3]), np.array([1]))
    found, car = counter.as_json()["zones"]["all"], {"car": 1}
    assert found == {"now": car, "entered": {}, "left": {}, "visitors": car}
    assert [points.tolist() for _, points, _ in counter.overlays] == before  # drawn as given


@pytest.mark.parametrize(
    ("zone", "homography"),
    [
        ("0,0,1,0,1,0.98,0,0.98", None),
        ("0,0,1,0,1,1,0,1", np.array([[1.0, 0, 0], [0, 1, 0.001], [0, 0, 1]])),
        ("0.2,0,1,0,1,1", None),  # meets the border in one point
    ],
)
def test_a_zone_that_ends_in_the_image_or_on_the_ground_does_not_go_on(zone, homography):
    counter = Counter([], [Zone.from_text(zone, "z")], image_wh=WH, names=NAMES, anchor="bottom")
    for x in (300, 602):
        boxes, one = np.array([[x, 430, x + 40, 480.0]]), np.array([x])
        counter.update(boxes, np.array([3]), one, homography)
    assert counter.as_json()["zones"]["z"]["visitors"] == {}


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**31))
def test_inside_the_image_a_zone_that_goes_on_beyond_is_the_same(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    radii = rng.uniform(0.2, 1.5, len(angles))[:, None]  # star-shaped: mostly concave
    border = 0.5 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    border = border.clip(0, 1) * WH  # many corners on the image's border
    beyond = beyond_image(border, WH)
    for point in rng.uniform(1, np.array(WH) - 1, (30, 2)):
        once, more = (
            cv2.pointPolygonTest(of.astype(np.float32), tuple(point), measureDist=True)
            for of in (border, beyond)
        )
        if abs(once) > 0.01:
            assert (once > 0) == (more > 0)
            assert abs(more) > abs(once) - 0.01


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-4.9, 4.9), min_size=1, max_size=40))
def test_jitter_on_a_zones_border_counts_nothing(jitter):
    counter = walk(
        Counter(zones=[SQUARE], image_wh=WH, names=NAMES),
        [(200, 200), *((100 + dx, 200) for dx in jitter), (200, 200)],
    )
    found = counter.as_json()["zones"]["yard"]
    assert (found["entered"], found["left"], found["visitors"]) == ({}, {}, {"car": 1})


def test_fractions_are_of_the_frame():
    line = CountLine.from_text("0.25, 0.5, 0.75, 0.5", "line 1")
    assert line.name == "line 1"
    np.testing.assert_allclose(line.points_in((640, 480)), [[160, 240], [480, 240]])
    np.testing.assert_allclose(SQUARE.points_in((640, 480))[2], [300, 300])


def test_lines_can_stay_on_the_ground():
    """The camera goes up by 10 pixels a frame; what stands still never crosses a line on the
    ground.
    """
    shift = np.array([[1, 0, 0], [0, 1, 10], [0, 0, 1.0]])
    still, moving = line_counter(), line_counter()
    for step in range(12):
        found = np.array([box(300, 150 + 10 * step)]), np.array([3]), np.array([1])
        still.update(*found)
        moving.update(*found, homography=shift if step else np.eye(3))
    assert crossings(still) == (1, 0)
    assert crossings(moving) == (0, 0)
    np.testing.assert_allclose(moving.overlays[0][1], [[100, 310], [500, 310]])


def test_overlays_show_the_counts():
    counter = Counter([LEVEL], [SQUARE], image_wh=WH, names=NAMES)
    walk(counter, [(200, 150), (200, 250)])
    labels = [(kind, label) for kind, _points, label in counter.overlays]
    assert labels == [("line", "gate: 1 in, 0 out"), ("zone", "yard: 1 now, 1 in all")]
    json.dumps(counter.as_json())


def test_objects_long_gone_are_forgotten_but_counted():
    counter = Counter([LEVEL], [SQUARE], image_wh=WH, names=NAMES)
    for track_id in range(1, 2101):
        walk(counter, [(200, 150), (200, 250)][track_id % 2 :][:1], track_id=track_id)
    for _ in range(900):
        counter.update(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int))
    assert len(counter._seen) <= 1100
    assert (
        len(counter._lines["gate"].sides)
        == len(counter._zones["yard"].inside)
        == len(counter._seen)
    )
    assert counter.as_json()["objects"] == {"car": 2100}
    assert counter.as_json()["zones"]["yard"]["visitors"] == {"car": 2100}


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (CountLine, "1,2,3", "expected x1,y1,x2,y2"),
        (CountLine, "1,2,3,x", "'x'"),
        (CountLine, "1,2,3,4,5,6", "3 points"),
        (CountLine, "5,5,5,5", "the same"),
        (CountLine, "=1,2,3,4", "no name"),
        (CountLine, "a=-1,2,3,4", "none below 0"),
        (CountLine, "nan,2,3,4", "none below 0"),
        (CountLine, "", "0 points"),
        (Zone, "1,2,3,4", "2 points"),
        (Zone, "5,5,5,5,5,5", "1 point;"),
        (Zone, "0,0,10,10,0,0,10,10,0,0", "crosses itself"),
        (Zone, "0,0,10,10,20,20", "one line"),
        (Zone, "0,0,10,10,10,0,0,10", "crosses itself"),
    ],
)
def test_invalid_texts_are_named(kind, text, message):
    with pytest.raises(ConfigError, match=message):
        kind.from_text(text, "it")


@pytest.mark.parametrize(
    "text",
    [
        "0,0,0.4,0,0.4,0.3,0,0.3,0,0",
        "0,0,0,0,0.4,0,0.4,0.3,0.4,0.3,0,0.3",
        "0,0,0.4,0,0.4,0.3,0,0.3,0,0.3,0,0,0,0",
    ],
)
def test_closed_rings_and_repeated_points_are_the_zone_without_them(text):
    assert Zone.from_text(text, "lot") == Zone.from_text("0,0,0.4,0,0.4,0.3,0,0.3", "lot")


def test_shapes_outside_and_duplicate_names_are_refused():
    with pytest.raises(ConfigError, match="outside the image of 640x480"):
        line_counter(CountLine.from_text("700,10,900,10", "far"))
    with pytest.raises(ConfigError, match="several lines or zones are called 'gate'"):
        Counter([LEVEL, LEVEL], image_wh=WH, names=NAMES)
    with pytest.raises(ConfigError, match="'centre' or 'bottom'"):
        Counter(image_wh=WH, names=NAMES, anchor="top")


def test_classes_that_share_a_name_are_added_up() -> None:
    counter = Counter([LEVEL], [SQUARE], image_wh=WH, names={0: "car", 3: "car", 4: "van"})
    for y in (150, 190, 230):
        boxes = np.array([box(150, y), box(200, y), box(250, y)])
        counter.update(boxes, np.array([0, 3, 4]), np.array([1, 2, 3]))
    counts = counter.as_json()
    assert counts["objects"] == {"car": 2, "van": 1}
    assert counts["lines"]["gate"]["in"] == {"car": 2, "van": 1}
    assert counts["zones"]["yard"]["now"] == {"car": 2, "van": 1}
