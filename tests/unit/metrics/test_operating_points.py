"""Thresholds of the best F1, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.metrics.operating_points import best_for_all, best_of_class
from yolo_ema.metrics.visdrone_protocol import Curve

EMPTY = Curve(*np.zeros((4, 0)))


def curve_of(scores, right, objects):
    """The curve of detections by falling score, as the protocol keeps it."""
    true, scores = np.cumsum(right), np.asarray(scores)
    at = np.flatnonzero(right)
    return Curve(true[at] / objects, true[at] / (at + 1), scores[at], scores)


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
    poor = curve_of([0.85], [1], 1)
    both = best_for_all([rich, poor])
    assert (both.confidence, both.f1) == (0.3, pytest.approx(100))
    assert best_for_all([rich, poor, EMPTY]).f1 == pytest.approx(200 / 3)


def test_false_alarms_below_the_last_true_positive_of_their_class_count():
    early = curve_of([0.9, 0.8, *[0.5] * 50], [1, 1, *[0] * 50], 2)
    late = curve_of([0.4, 0.3], [1, 1], 2)
    point = best_for_all([early, late])
    # from 0.3 on `early` has a precision of 2/52; from 0.51 on `late` finds nothing
    low = (2 * (2 / 52) / (1 + 2 / 52) + 1) / 2
    assert (point.confidence, point.f1) == (0.3, pytest.approx(100 * low))
    assert point.precision == pytest.approx(100 * (2 / 52 + 1) / 2)
    assert best_for_all([early, early, late]).confidence == 0.8


def test_detections_of_one_score_count_together():
    point = best_of_class(curve_of([0.9, 0.5, 0.5, 0.5], [1, 1, 0, 0], 2))
    assert (point.confidence, point.precision) == (0.9, 100)


DETECTIONS = st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=20)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(DETECTIONS, st.integers(0, 3)), min_size=1, max_size=4))
def test_what_is_reported_for_all_is_what_counting_gives(classes):
    """Against every detection from the threshold upwards, class by class, and every threshold."""
    classes = [(sorted(found, reverse=True), missed) for found, missed in classes]
    curves = [
        curve_of(
            [score / 100 for score, _ in found],
            [int(right) for _, right in found],
            max(sum(right for _, right in found) + missed, 1),
        )
        for found, missed in classes
    ]

    def counted(threshold):
        figures = []
        for found, missed in classes:
            objects = max(sum(right for _, right in found) + missed, 1)
            kept = [right for score, right in found if score / 100 >= threshold]
            precision, recall = sum(kept) / max(len(kept), 1), sum(kept) / objects
            f1 = 2 * precision * recall / (precision + recall) if sum(kept) else 0
            figures.append((precision, recall, f1))
        return [100 * sum(of_all) / len(classes) for of_all in zip(*figures, strict=True)]

    by_hand = [counted(n / 100) for n in range(1, 100)]
    best = max(f1 for _, _, f1 in by_hand)
    point = best_for_all(curves)
    if point is None:
        assert best == 0
        return
    assert [point.precision, point.recall, point.f1] == pytest.approx(counted(point.confidence))
    assert point.f1 == pytest.approx(best)


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
