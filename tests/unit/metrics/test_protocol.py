"""The official protocol on cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.errors import DataError
from yolo_ema.metrics.ignored_coverage import ignored_share
from yolo_ema.metrics.visdrone_protocol import OFFICIAL_FIGURES, evaluate_official, without_ignored

SIZES = {"a": (200, 100), "b": (200, 100)}


def rows(*boxes):
    return np.array(boxes, dtype=float).reshape(-1, 6)


def test_perfect_detections_score_100():
    truth = {"a": rows((10, 10, 20, 20, 1, 4), (60, 10, 20, 20, 1, 1))}
    scores = evaluate_official(truth, truth, SIZES)
    assert scores.official["AP"] == scores.official["AR500"] == pytest.approx(100)
    assert scores.per_class["car"]["AP75"] == pytest.approx(100)
    assert scores.per_class["bus"] == dict.fromkeys(OFFICIAL_FIGURES)


def test_classes_weigh_by_the_images_that_contain_them():
    truth = {
        "a": rows((10, 10, 20, 20, 1, 4), (60, 10, 20, 20, 1, 1)),
        "b": rows((10, 10, 20, 20, 1, 4)),
    }
    cars = {name: one[one[:, 5] == 4] for name, one in truth.items()}
    scores = evaluate_official(truth, cars, SIZES)
    assert scores.official["AP"] == pytest.approx(200 / 3)  # car in two images, pedestrian in one
    assert scores.macro["AP"] == pytest.approx(50)


def test_average_precision_is_the_whole_area_under_the_envelope():
    truth = {"a": rows(*((x, 10, 8, 8, 1, 4) for x in (10, 40, 70, 100)))}
    found = {
        "a": rows((10, 10, 8, 8, 0.9, 4), (150, 10, 8, 8, 0.8, 4), (40, 10, 8, 8, 0.7, 4))
    }  # right, wrong, right
    scores = evaluate_official(truth, found, SIZES)
    assert scores.official["AP50"] == pytest.approx(100 * (1 / 4 + 2 / 3 / 4))
    assert scores.official["AR500"] == pytest.approx(50)
    assert scores.curves[3].recall.tolist() == [0.25, 0.5]
    assert scores.curves[3].precision == pytest.approx([1, 2 / 3])
    assert scores.curves[3].score.tolist() == [0.9, 0.7]
    assert scores.curves[3].judged_score.tolist() == [0.9, 0.8, 0.7]


def test_ignore_boxes_stay_in_the_denominator_and_absorb_detections():
    truth = {"a": rows((10, 10, 8, 8, 1, 4), (100, 10, 60, 60, 0, 4))}
    found = {
        "a": rows((110, 20, 8, 8, 0.9, 4), (130, 20, 8, 8, 0.8, 4), (10, 10, 8, 8, 0.7, 4))
    }  # two inside the ignore box
    scores = evaluate_official(truth, found, SIZES)
    assert scores.official["AP50"] == pytest.approx(50)
    assert scores.curves[3].judged_score.tolist() == [0.7]  # neither right nor wrong


def test_others_neither_count_nor_absorb():
    truth = {"a": rows((10, 10, 8, 8, 1, 4), (100, 10, 8, 8, 0, 11))}
    found = {"a": rows((100, 10, 8, 8, 0.9, 4), (10, 10, 8, 8, 0.7, 4))}
    assert evaluate_official(truth, found, SIZES).official["AP50"] == pytest.approx(50)


def test_only_the_first_rows_count_over_all_classes_in_file_order():
    truth = {"a": rows((10, 10, 8, 8, 1, 4))}
    before = [(150, 80, 8, 8, 0.1, 1)] * 500
    assert evaluate_official(truth, {"a": rows((10, 10, 8, 8, 0.9, 4), *before)}, SIZES).official[
        "AR500"
    ] == pytest.approx(100)
    assert (
        evaluate_official(truth, {"a": rows(*before, (10, 10, 8, 8, 0.9, 4))}, SIZES).official[
            "AR500"
        ]
        == 0
    )
    late = evaluate_official(
        truth, {"a": rows(*before[:99], (10, 10, 8, 8, 0.9, 4))}, SIZES
    ).official
    assert (late["AR10"], late["AR100"]) == (0, pytest.approx(100))


def test_a_box_half_covered_is_dropped_and_makes_room_among_the_first_rows():
    truth = {
        "a": rows((10, 10, 8, 8, 1, 4), (99, 0, 100, 100, 0, 0))
    }  # the region: columns 99 to 199
    found = {"a": rows((120, 20, 8, 8, 0.99, 4), (10, 10, 8, 8, 0.5, 4))}
    official = evaluate_official(truth, found, SIZES).official
    assert official["AP"] == official["AR1"] == pytest.approx(100)


def test_an_object_in_an_ignored_region_does_not_count():
    truth = {"a": rows((120, 20, 8, 8, 1, 4), (99, 0, 100, 100, 0, 0))}
    assert evaluate_official(truth, {}, SIZES).official == dict.fromkeys(OFFICIAL_FIGURES)


@pytest.mark.parametrize(
    ("left", "share"), [(90, 0.0), (94, 0.4), (95, 0.5), (96, 0.6), (100, 1.0)]
)
def test_coverage_counts_pixels_without_the_boxs_first_column(left, share):
    # The box's columns left + 1 to left + 10 count; the region covers the columns from 101.
    regions, box = np.array([[101.0, 1, 80, 90]]), np.array([[left, 10.0, 10, 10]])
    assert ignored_share(box, regions, (200, 100))[0] == pytest.approx(share)


def test_overlapping_regions_are_counted_once():
    regions = np.array([[10.0, 10, 30, 30], [20, 20, 30, 30], [20, 20, 1, 1]])
    mask = np.zeros((101, 201))
    for left, top, width, height in regions.astype(int):
        mask[top : top + height + 1, left : left + width + 1] = 1
    box = np.array([[5.0, 5, 40, 40]])
    assert ignored_share(box, regions, (200, 100))[0] == pytest.approx(
        mask[6:46, 6:46].sum() / 1600
    )


def test_without_ignored_keeps_the_order_of_rows():
    found = rows(*((x, 50, 8, 8, score, 4) for x, score in ((10, 0.1), (120, 0.9), (30, 0.5))))
    truth, kept = without_ignored({"a": rows((99, 0, 100, 100, 0, 0))}, {"a": found}, SIZES)
    assert kept["a"][:, 0].tolist() == [10, 30]
    assert truth["a"].shape == (0, 6)


@pytest.mark.parametrize(
    ("truth", "found", "sizes", "message"),
    [
        ({"a": []}, {"c": []}, SIZES, "detections for image 'c', which has no ground truth"),
        (
            {"img1": []},
            {},
            {"img2": (5, 5)},
            "size of image 'img1' is not given; did you mean 'img2'",
        ),
        ({"a": []}, {}, {"a": (0, 5)}, r"is \(0, 5\); expected width and height of at least 1"),
        (
            {"a": np.zeros((1, 8))},
            {},
            SIZES,
            r"the ground truth of image 'a' has shape \(1, 8\); expected \(N, 6\)",
        ),
        ({"a": []}, {"a": [[1, 1, 1, 1, np.nan, 1]]}, SIZES, "the detections of image 'a', row 1"),
    ],
)
def test_faults_are_named(truth, found, sizes, message):
    with pytest.raises(DataError, match=message):
        evaluate_official(truth, found, sizes)


def test_other_classes_than_visdrones():
    truth = {"a": rows((10, 10, 8, 8, 1, 2), (40, 10, 8, 8, 1, 3))}
    scores = evaluate_official(truth, truth, SIZES, class_names=("cat", "dog"))
    assert scores.official["AP"] == pytest.approx(100)  # category 3 is beyond the classes
    assert scores.per_class["cat"]["AP"] is None
