"""Images that stay readable: colours apart for every eye, labels that hide nothing, a legend that
counts.
"""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.constants import BOX_COLOURS_RGB
from yolo_ema.media.drawing import style
from yolo_ema.media.drawing.annotator import Overlay, draw_detections
from yolo_ema.media.drawing.box_labels import _Room
from yolo_ema.media.drawing.legend import draw_legend
from yolo_ema.media.drawing.style import class_colour_bgr, ink_on_bgr, render_label, text_mask
from yolo_ema.media.frames import Frame, FrameDetections

NAMES = {number: f"class {number}" for number in range(30)}

# What is left of linear RGB where one kind of cone is missing: Machado, Oliveira and Fernandes,
# 2009, severity 1.
WITHOUT_RED = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
WITHOUT_GREEN = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
EYES = {
    "all": np.eye(3),
    "protanopia": np.array(WITHOUT_RED),
    "deuteranopia": np.array(WITHOUT_GREEN),
}


def lab_as_seen(colours_rgb, eye: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB colours as an eye sees them."""
    share = np.array(colours_rgb, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ eye.T
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    relative = linear.clip(0, 1) @ to_xyz.T / to_xyz.sum(axis=1)
    x, y, z = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116).T
    return np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def least_distance(colours_rgb, eye: np.ndarray) -> float:
    lab = lab_as_seen(colours_rgb, eye)
    return min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(lab, 2))


@pytest.mark.parametrize(
    ("eye", "at_least"), [("all", 45), ("protanopia", 27), ("deuteranopia", 27)]
)
def test_colours_of_ten_classes_are_distinct_for_every_viewer(eye, at_least):
    assert least_distance(BOX_COLOURS_RGB, EYES[eye]) > at_least


def test_the_measure_detects_what_colour_blind_viewers_confuse():
    red_and_green = [(190, 60, 40), (100, 120, 40)]
    assert least_distance(red_and_green, EYES["all"]) > 50
    assert least_distance(red_and_green, EYES["deuteranopia"]) < 20


def test_ink_is_legible_on_every_class_colour():
    for class_id in range(10):
        ground = class_colour_bgr(class_id)
        luminance = [
            lab_as_seen([colour[::-1]], np.eye(3))[0, 0] for colour in (ground, ink_on_bgr(ground))
        ]
        assert abs(luminance[0] - luminance[1]) > 40


def found_in(boxes, image_wh=(960, 540), track_ids=None, ground=90) -> FrameDetections:
    rows = np.array(boxes, float).reshape(-1, 6)
    image = np.full((image_wh[1], image_wh[0], 3), ground, np.uint8)
    ids = None if track_ids is None else np.array(track_ids)
    return FrameDetections(
        Frame(image, "a", 0, 0.0), rows[:, :4], rows[:, 4], rows[:, 5].astype(int), NAMES, ids
    )


def crowd(number: int, seed=0, image_wh=(1920, 1080), **more) -> FrameDetections:
    rng = np.random.default_rng(seed)
    corners = rng.uniform([0, 0], np.array(image_wh) - 60, (number, 2))
    rows = np.column_stack(
        [
            corners,
            corners + rng.uniform(8, 60, (number, 2)),
            rng.random(number),
            rng.integers(0, 10, number),
        ]
    )
    return found_in(rows, image_wh, **more)


@pytest.mark.parametrize("side", [8, 20, 60])
def test_a_line_is_thinner_around_a_small_object_and_hides_nothing_of_it(side):
    drawn = draw_detections(found_in([[400, 300, 400 + side, 300 + side, 0.9, 3]]))
    coloured = (drawn[300 + side // 2, :] == class_colour_bgr(3)).all(axis=1)
    assert coloured.sum() == (2 if side < 28 else 6)
    if side < 28:
        assert (drawn[300 : 300 + side, 400 : 400 + side] == 90).all()


def test_labels_say_less_the_more_objects_there_are(monkeypatch):
    said: list[str] = []

    def listen(text, *rest):
        said.append(text)
        return render_label(text, *rest)

    monkeypatch.setattr("yolo_ema.media.drawing.box_labels.render_label", listen)
    for number, ids, example in (
        (1, None, "class 1 0."),
        (60, None, "class "),
        (300, None, ""),
        (300, range(300), "#"),
    ):
        said.clear()
        draw_detections(crowd(number, track_ids=ids, seed=8))
        assert bool(said) == bool(example)
        assert all(text.startswith(example[:5]) for text in said)
        assert any("0." in text for text in said) == (number == 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_labels_cover_neither_one_another_nor_small_objects(seed, number):
    found = crowd(number, seed, (640, 480))
    room = _Room(640, 480, found.boxes_xyxy)
    places = [room.take(box, (50, 14), 2) for box in found.boxes_xyxy.tolist()]
    words = np.array([(x, y, x + 50, y + 14) for x, y in filter(None, places)], float).reshape(
        -1, 4
    )
    for row, (x1, y1, x2, y2) in enumerate(words):
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 640
        assert y2 <= 480
        others = np.vstack([np.delete(words, row, axis=0), found.boxes_xyxy])
        overlap = np.minimum(others[:, 2:], (x2, y2)) - np.maximum(others[:, :2], (x1, y1))
        assert (overlap.min(axis=1) <= 4).all()  # the room is kept in cells of four pixels


def test_a_label_covers_no_small_object_inside_a_large_one_whatever_their_order():
    large, small = [100, 100, 300, 300], [104, 104, 124, 118]
    for boxes in ([large, small], [small, large]):
        room = _Room(640, 480, np.array(boxes, float))
        room._take(0, 0, 640, 100)
        room._take(0, 300, 640, 480)
        assert room.take(large, (20, 10), 2) is None, boxes
    assert _Room(640, 480, np.array([large], float)).take(large, (20, 10), 2) is not None


def test_names_of_lines_and_zones_are_next_to_the_legend():
    found = found_in([[500, 300, 540, 340, 0.9, 3]])
    corner = np.array([[0, 0], [300, 0], [300, 200], [0, 200]])
    plain, named = (
        draw_detections(found, overlays=[("zone", corner, label)]) for label in ("", "lot: 1 now")
    )
    rows, columns = np.nonzero((plain != named).any(axis=2))
    legend = draw_legend(found.frame.image_bgr.copy(), found, 1.0)
    assert legend is not None
    assert columns.min() >= legend[2] or rows.min() >= legend[3]


def test_the_legend_counts_and_is_omitted_on_small_images():
    few = found_in([[500, 300, 540, 340, 0.9, 3]])
    assert (draw_detections(few)[8:30, 8:60] != 90).any()
    tiny = draw_detections(found_in([[30, 30, 40, 40, 0.9, 3]], (96, 64)))
    assert (tiny[:20, :20] == 90).all()


def test_a_frame_without_objects_says_so_and_weights_with_many_classes_are_summed_up():
    assert (draw_detections(found_in([]))[:40, :140] != 90).any()
    rows = [[20 * number, 300, 20 * number + 9, 309, 0.9, number] for number in range(30)]
    drawn = draw_detections(found_in(rows, (1280, 720)))
    assert (drawn[:280, :200] != 90).any()
    assert (drawn[400:, :] == 90).all()


def test_nan_boxes_and_boxes_far_outside_do_no_harm():
    rows = [
        [-1e9, -50, 1e9, 50, 0.9, 0],
        [np.nan, 0, 10, 10, 0.8, 1],
        [5000, 5000, 5001, 5001, 0.7, 2],
        [10, 10, 10, 10, 0.6, 3],
    ]
    assert draw_detections(found_in(rows, track_ids=[1, 2, 3, -1])).shape == (540, 960, 3)


def test_the_jitter_of_a_standing_object_is_not_drawn_on_it():
    found = found_in([[400, 300, 430, 330, 0.9, 3]], track_ids=[7])
    jitter = {7: np.array([[413.0, 316], [416, 314], [415, 315]])}
    assert np.array_equal(draw_detections(found, trails=jitter), draw_detections(found))


def test_trails_follow_their_object_and_zones_lie_under_boxes():
    found = found_in([[400, 300, 430, 330, 0.9, 3]], track_ids=[7])
    trail = {7: np.array([[100.0, 315], [415, 315]]), 8: np.array([[100.0, 500], [400, 500]])}
    zone = Overlay(
        "zone", np.array([[380, 280], [600, 280], [600, 450], [380, 450]]), "yard: 1 now"
    )
    drawn = draw_detections(
        found,
        trails=trail,
        overlays=[zone, ("line", np.array([[50.0, 400], [350, 400]]), "gate: 2 in")],
    )
    assert (
        np.abs(drawn[315, 300].astype(int) - class_colour_bgr(3)).max() < 30
    )  # its edges are smoothed
    assert (
        drawn[500, 100:400] == 90
    ).all()  # nothing is there of an identity that is not in the image
    assert drawn[440, 500].mean() == pytest.approx(90 + 0.15 * 165, abs=2)
    assert (drawn[400, 100] == 255).all()
    assert (drawn[420, 500] != 90).all()


def test_shapes_that_reach_far_outside_are_drawn_as_what_is_seen_of_them():
    """Drawing as far as 1e10 took half a minute, and wrapped in int32."""
    found = found_in([])
    for kind, far, near in (
        (
            "zone",
            [(100, -1e10), (900, -1e10), (900, 3000), (100, 3000)],
            [(100, -900), (900, -900), (900, 900), (100, 900)],
        ),
        ("line", [(-1e10, 300), (640, 300)], [(-900, 300), (640, 300)]),
        ("line", [(640, 1e10), (640, 200)], [(640, 900), (640, 200)]),
    ):
        drawings = [
            draw_detections(found, overlays=[(kind, np.array(points, float), "lot: 1 now")])
            for points in (far, near)
        ]
        assert np.array_equal(*drawings)
        assert (drawings[0] != draw_detections(found)).any()


@pytest.mark.parametrize("kind", ["line", "zone"])
@pytest.mark.parametrize(
    "points", [[], [(2e4, 100), (3e4, 100)], [(np.nan, 100), (200, 100)], [(-np.inf, 1), (99, 1)]]
)
def test_of_shapes_out_of_view_or_without_a_place_nothing_is_drawn(kind, points):
    found = found_in([])
    overlay = (kind, np.array(points, float).reshape(-1, 2), "gate: 2 in")
    assert np.array_equal(draw_detections(found, overlays=[overlay]), draw_detections(found))


def test_trails_that_reach_far_outside_keep_their_direction():
    found = found_in([[400, 300, 430, 330, 0.9, 3]], track_ids=[7])
    far, near = (
        draw_detections(found, trails={7: np.array([[x, 315.0], [415, 315]])}) for x in (-1e10, -99)
    )
    assert np.array_equal(far, near)


def test_words_in_other_alphabets_are_drawn():
    words = [render_label(text, 14, (0, 0, 0)) for text in ("Fußgänger", "машина", "λεωφορείο")]
    assert len({word.tobytes() for word in words}) == 3
    boxes_for_unknown = render_label("\uffff\uffff", 14, (0, 0, 0))
    assert all(word.max() > 200 for word in words)
    assert boxes_for_unknown.shape[0] == words[0].shape[0]


def test_three_hundred_boxes_are_drawn_quickly():
    found = crowd(300)
    cv2.setNumThreads(1)
    try:
        times = []
        for _ in range(12):
            before = time.thread_time()
            draw_detections(found)
            times.append(time.thread_time() - before)
    finally:
        cv2.setNumThreads(-1)
    assert min(times) < 0.010  # seconds of one core, without those that others took


def test_names_with_line_breaks_are_drawn_in_one_line():
    for name in ("car\nvan", "car\r\nvan", "car\u2028van", "\n"):
        assert text_mask(name, 12).shape[0] == text_mask("car", 12).shape[0]


@pytest.mark.slow
def test_labels_that_never_repeat_keep_within_their_memory():
    """A tracked flight: every frame new identities and scores, at the size of 4K."""
    held = []
    for number in range(6000):
        render_label(f"#{number} pedestrian 0.{number % 100:02d}", 24, (0, 255, 221))
        if number % 1000 == 999:
            held.append(style._labels.bytes_held)
    assert max(held) <= 4 << 20
    assert held[-1] > 3 << 20, "the latest are still there"
    label = render_label("#5999 pedestrian 0.99", 24, (0, 255, 221))
    assert render_label("#5999 pedestrian 0.99", 24, (0, 255, 221)) is label
