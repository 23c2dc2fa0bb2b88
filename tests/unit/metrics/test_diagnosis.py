"""Errors made on purpose, one of each kind."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.metrics.error_analysis import ERROR_KINDS, diagnose

NAMES = ("cat", "dog")
SIZES = {"a": (400, 400), "b": (400, 400)}


def rows(*boxes):
    return np.array(boxes, dtype=float).reshape(-1, 6)


TRUTH = {
    "a": rows(*((x, 10, 20, 20, 1, 1) for x in (10, 60, 110, 160))),
    "b": rows((10, 10, 20, 20, 1, 2), (200, 200, 50, 50, 0, 0)),
}


def kinds(found, **options):
    return {
        one.name: one for one in diagnose(TRUTH, found, SIZES, class_names=NAMES, **options).errors
    }


def test_each_kind_is_distinguished():
    found = {
        "a": rows(
            (10, 10, 20, 20, 0.95, 1),  # right
            (11, 10, 20, 20, 0.90, 1),  # duplicate of it
            (60, 10, 20, 20, 0.85, 2),  # wrong class
            (110, 22, 20, 20, 0.80, 1),  # poor box: IoU 0.25
            (160, 22, 20, 20, 0.75, 2),  # both
            (300, 300, 20, 20, 0.70, 1),  # background
        ),
        "b": rows((210, 210, 20, 20, 0.9, 2)),  # in the ignored region
    }
    errors = kinds(found)
    assert list(errors) == list(ERROR_KINDS)
    counts = {name: one.count for name, one in errors.items()}
    assert counts == {
        "class": 1,
        "location": 1,
        "class and location": 1,
        "duplicate": 1,
        "background": 1,
        "missed": 2,
    }


def test_cost_is_what_fixing_gains():
    found = {
        "a": rows((10, 10, 20, 20, 0.9, 2), *((x, 10, 20, 20, 0.8, 1) for x in (60, 110, 160))),
        "b": rows((10, 10, 20, 20, 0.5, 2)),
    }
    errors = kinds(found)
    # As it stands: cat 3 of 4 = 75, dog 1 of 1 after one false alarm = 50. With the class repaired
    # both are 100.
    assert errors["class"].ap50_lost == pytest.approx(100 - (75 + 50) / 2)
    assert errors["missed"].ap50_lost == pytest.approx(0)  # the object was seen, as another class
    assert errors["background"].ap50_lost == pytest.approx(0)


def test_missed_objects_cost_what_their_absence_would_gain():
    found = {
        "a": rows(*((x, 10, 20, 20, 0.8, 1) for x in (60, 110, 160))),
        "b": rows((10, 10, 20, 20, 0.5, 2)),
    }
    assert kinds(found)["missed"].ap50_lost == pytest.approx(100 - (75 + 100) / 2)


def test_two_poor_boxes_on_one_object_are_fixed_into_one():
    found = {
        "a": rows((10, 22, 20, 20, 0.9, 1), (10, 23, 20, 20, 0.8, 1)),
        "b": rows((10, 10, 20, 20, 0.5, 2)),
    }
    assert kinds(found)["location"].ap50_lost == pytest.approx((25 - 0) / 2)


def test_confusion_prefers_the_own_class_and_names_misses_and_false_alarms():
    truth = {"a": rows((10, 10, 20, 20, 1, 1), (12, 10, 20, 20, 1, 2), (100, 100, 20, 20, 1, 2))}
    found = {
        "a": rows(
            (11, 10, 20, 20, 0.9, 2),
            (10, 10, 20, 20, 0.8, 2),
            (300, 10, 20, 20, 0.7, 1),
            (100, 100, 20, 20, 0.1, 2),
        )
    }
    confusion = diagnose(
        truth, found, {"a": (400, 400)}, class_names=NAMES, confidence=0.25
    ).confusion
    assert confusion.tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_the_worst_image_comes_first_with_its_boxes():
    found = {
        "b": rows((10, 10, 20, 20, 0.9, 2), (100, 10, 20, 20, 0.8, 1), (100, 60, 20, 20, 0.2, 1))
    }
    first, second = diagnose(TRUTH, found, SIZES, class_names=NAMES).images
    assert (first.name, len(first.missed), len(first.found)) == ("a", 4, 0)
    assert second.false_alarms.tolist() == [[100, 10, 20, 20, 0.8, 1]]
    assert second.found.tolist() == [[10, 10, 20, 20, 0.9, 2]]


def test_ignore_boxes_make_a_detection_neither_right_nor_wrong():
    truth = {"a": rows((10, 10, 100, 100, 0, 1))}
    diagnosis = diagnose(
        truth, {"a": rows((20, 20, 10, 10, 0.9, 1))}, {"a": (400, 400)}, class_names=NAMES
    )
    assert diagnosis.confusion.sum() == 0
    assert sum(one.count for one in diagnosis.errors) == 0


def test_nothing_at_all():
    diagnosis = diagnose({"a": rows()}, {}, {"a": (10, 10)}, class_names=NAMES)
    assert diagnosis.confusion.sum() == 0
    assert all(one.ap50_lost == 0 for one in diagnosis.errors)
