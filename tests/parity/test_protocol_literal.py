"""The vectorised protocol against its literal form, on random cases full of the situations in which
a port goes wrong.
"""

from __future__ import annotations

import literal_protocol
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.metrics.ignored_coverage import ignored_share
from yolo_ema.metrics.visdrone_protocol import evaluate_official


def assert_equal(ground_truth, detections, sizes_wh):
    scores = evaluate_official(ground_truth, detections, sizes_wh)
    official, macro = literal_protocol.literal_protocol(ground_truth, detections, sizes_wh)
    for found, expected in ((scores.official, official), (scores.macro, macro)):
        if expected["AP"] is None:
            assert set(found.values()) == {None}
        else:
            assert found == pytest.approx(expected, abs=1e-9)
    return official


@st.composite
def images(draw, most_boxes=9):
    """A tiny image on a coarse grid: equal boxes, equal scores and overlaps of exactly a half or
    three quarters are common.
    """
    width, height = draw(st.sampled_from([(24, 16), (31, 23), (40, 40)]))
    sides = st.sampled_from([0, 1, 4, 8, 10, 12, 16])
    places = st.sampled_from([-6, -1, 0, 1, 2, 4, 5, 8, 12, 15, 16, 22, 24, 39, 50])
    halves = st.sampled_from([0.0, 0.0, 0.5, 0.25, -0.5])
    classes = st.sampled_from([1, 1, 1, 2, 10])
    truth = draw(
        st.lists(
            st.tuples(places, places, sides, sides, st.sampled_from([1, 1, 0]), classes),
            max_size=most_boxes,
        )
    )
    others = draw(
        st.lists(
            st.tuples(places, places, sides, sides, st.just(0), st.sampled_from([0, 11])),
            max_size=2,
        )
    )
    scores = st.sampled_from([0.1, 0.5, 0.5, 0.9, 1.0])
    loose = draw(
        st.lists(
            st.tuples(places, places, sides, sides, scores, st.sampled_from([1, 1, 2, 3, 11])),
            max_size=most_boxes,
        )
    )
    near = [
        (
            box[0] + draw(halves),
            box[1] + draw(halves),
            box[2] + draw(halves),
            box[3],
            draw(scores),
            box[5],
        )
        for box in truth
        if draw(st.booleans())
    ]
    found = draw(st.permutations(near + loose))
    return (
        np.array(draw(st.permutations(truth + others)), float).reshape(-1, 6),
        np.array(found, float).reshape(-1, 6),
        (width, height),
    )


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(images(), min_size=1, max_size=4), st.booleans())
def test_equal_on_random_scenes(scene, drop_one_result):
    ground_truth = {f"i{n}": truth for n, (truth, _, _) in enumerate(scene)}
    detections = {f"i{n}": found for n, (_, found, _) in enumerate(scene)}
    if drop_one_result:
        detections.pop("i0")
    assert_equal(ground_truth, detections, {f"i{n}": size for n, (_, _, size) in enumerate(scene)})


@settings(max_examples=150, deadline=None)
@given(images(most_boxes=12))
def test_ignored_regions_drop_the_same_boxes_as_a_painted_mask(image):
    truth, found, (width, height) = image
    regions = truth[truth[:, 5] != 1]
    kept = found[ignored_share(found[:, :4], regions[:, :4], (width, height)) < 0.5]
    assert kept.tolist() == literal_protocol.drop_ignored(found, regions, width, height)


@pytest.mark.parametrize("seed", range(3))
def test_equal_on_crowded_images_with_more_than_500_rows(seed):
    rng = np.random.default_rng(seed)
    ground_truth, detections = {}, {}
    for n in range(2):
        truth = np.column_stack(
            [
                rng.integers(-5, 100, (60, 2)),
                rng.integers(4, 25, (60, 2)),
                np.ones(60),
                rng.integers(1, 4, 60),
            ]
        )
        region = np.array([[rng.integers(0, 60), 70, 60, 60, 0, 0]])
        noise = np.column_stack(
            [
                rng.integers(-5, 110, (500, 2)),
                rng.integers(4, 25, (500, 2)),
                rng.random(500).round(1),
                rng.integers(1, 4, 500),
            ]
        )
        near = np.column_stack(
            [truth[:, :4] + rng.integers(-2, 3, (60, 4)), rng.random(60).round(1), truth[:, 5]]
        )
        ground_truth[f"i{n}"] = np.vstack([truth, region]).astype(float)
        detections[f"i{n}"] = rng.permutation(np.vstack([noise, near, near]))
    official = assert_equal(ground_truth, detections, dict.fromkeys(ground_truth, (100, 90)))
    assert official["AR500"] > official["AR10"] > 0


def test_an_overlap_equal_to_the_threshold_matches():
    truth = {"a": np.array([[10, 10, 10, 10, 1, 1]], float)}
    half = {"a": np.array([[10, 10, 10, 5, 0.9, 1]], float)}
    assert evaluate_official(truth, half, {"a": (50, 50)}).official == {
        "AP": 10.0,
        "AP50": 100.0,
        "AP75": 0.0,
        "AR1": 10.0,
        "AR10": 10.0,
        "AR100": 10.0,
        "AR500": 10.0,
    }
    assert_equal(truth, half, {"a": (50, 50)})


def test_of_equal_overlaps_the_later_box_is_chosen():
    # The first detection lies between both boxes; only if it takes the later one is the first box
    # left for the second detection.
    truth = {"a": np.array([[0, 0, 10, 10, 1, 1], [4, 0, 10, 10, 1, 1]], float)}
    found = {"a": np.array([[2, 0, 10, 10, 0.9, 1], [0, 0, 10, 10, 0.8, 1]], float)}
    assert evaluate_official(truth, found, {"a": (50, 50)}).official["AP50"] == pytest.approx(100)
    assert_equal(truth, found, {"a": (50, 50)})
