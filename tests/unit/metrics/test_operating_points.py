"""Thresholds of the best F1, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.metrics.operating_points import best_for_all, best_of_class
from yolo_ema.metrics.visdrone_protocol import Curve

EMPTY = Curve(np.zeros(0), np.zeros(0), np.zeros(0))


def curve_of(scores, right, objects):
    """The curve of detections by falling score, as the protocol keeps it: at true positives
    only.
    """
    true = np.cumsum(right)
    at = np.flatnonzero(right)
    return Curve(true[at] / objects, true[at] / (at + 1), np.asarray(scores)[at])


def test_the_best_threshold_of_a_class():
    # F1 after each detection, of 4 objects: 2/5, 4/6, 4/7, 6/8, 6/9
    point = best_of_class(curve_of([0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 0, 1, 0], 4))
    assert point.confidence == 0.6
    assert (point.precision, point.recall, point.f1) == pytest.approx((75, 75, 75))


def test_of_equal_thresholds_the_higher():
    point = best_of_class(curve_of([0.9, 0.4, 0.3, 0.2], [1, 0, 0, 1], 2))  # 2/3, then 4/6
    assert point.confidence == 0.9


def test_nothing_found_has_no_threshold():
    assert best_of_class(EMPTY) is None
    assert best_for_all([EMPTY]) is None
    assert best_for_all([]) is None
    assert best_for_all([curve_of([0.006, 0.005], [1, 1], 2)]) is None


def test_a_common_threshold_weighs_classes_equally_and_a_class_without_hits_counts_as_zero():
    rich = curve_of([0.9, 0.8, 0.3], [1, 1, 1], 3)
    poor = curve_of([0.85, 0.35, 0.34], [1, 0, 0], 1)
    both = best_for_all([rich, poor])
    assert both.confidence == 0.3
    assert both.f1 == pytest.approx(
        100
    )  # the false alarms of `poor` come after its last true positive
    assert best_for_all([rich, poor, EMPTY]).f1 == pytest.approx(200 / 3)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 99), st.booleans()),
        min_size=1,
        max_size=30,
        unique_by=lambda pair: pair[0],
    ),
    st.integers(0, 5),
)
def test_the_best_of_a_class_is_the_best_of_all_cuts(pairs, missed):
    pairs = sorted(pairs, reverse=True)
    scores, right = [score / 100 for score, _ in pairs], [int(hit) for _, hit in pairs]
    objects = sum(right) + missed
    point = best_of_class(curve_of(scores, right, objects)) if sum(right) else None
    cuts = [2 * sum(right[: n + 1]) / (n + 1 + objects) for n in range(len(right)) if objects]
    if point is None:
        assert not any(right)
        return
    assert point.f1 == pytest.approx(100 * max(cuts))
    kept = [hit for score, hit in zip(scores, right, strict=True) if score >= point.confidence]
    assert 2 * sum(kept) / (len(kept) + objects) == pytest.approx(max(cuts))
