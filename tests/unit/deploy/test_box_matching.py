"""One-to-one matching of boxes, and which differences are NMS's and not the file's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.deploy.parity.box_matching import MIN_IOU, match_boxes, overlaps
from yolo_ema.deploy.parity.comparison import Tolerance, compare_image

TIGHT = Tolerance(px=0.05, score=0.001)
ROW = np.array([[10, 10, 30, 30, 0.9, 1]], np.float32)


def rows_of(
    random: np.random.Generator, count: int, spread: float = 500.0, classes: int = 3
) -> np.ndarray:
    corner = random.uniform(0, spread, (count, 2))
    sizes = random.uniform(5, 50, (count, 2))
    return np.column_stack(
        [
            corner,
            corner + sizes,
            random.uniform(0.1, 0.9, count),
            random.integers(0, classes, count),
        ]
    )


def slow_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes widened by half a pixel, written out."""
    a, b = (
        (min(r[0], r[2]) - 0.5, min(r[1], r[3]) - 0.5, max(r[0], r[2]) + 0.5, max(r[1], r[3]) + 0.5)
        for r in (one, other)
    )
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_overlaps_match_the_direct_formula(seed):
    random = np.random.default_rng(seed)
    first, second = rows_of(random, 5, 40), rows_of(random, 4, 40)
    expected = [[slow_iou(one, other) for other in second] for one in first]
    np.testing.assert_allclose(overlaps(first, second), expected, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_no_other_assignment_within_a_class_overlaps_more(count, others, seed):
    """Against all assignments, tried out."""
    random = np.random.default_rng(seed)
    first, second = rows_of(random, count, 15, classes=1), rows_of(random, others, 15, classes=1)
    second[:, 4], first[:, 4] = 0.5, 0.5

    def worth(pairs) -> float:
        shared = [slow_iou(first[i], second[j]) for i, j in pairs]
        return sum(one for one in shared if one >= MIN_IOU)

    found = match_boxes(first, second).pairs
    small, large = sorted((count, others))
    every = itertools.permutations(range(large), small)
    swap = count > others
    best = max(
        (worth([(j, i) if swap else (i, j) for i, j in enumerate(order)]) for order in every),
        default=0.0,
    )
    # The assignment pairs as many as it can first; of equally many pairs none overlaps more.
    assert worth(found) <= best + 1e-9
    if len(found) == small:
        assert worth(found) == pytest.approx(best)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_a_shuffled_copy_agrees_wholly(count, seed):
    random = np.random.default_rng(seed)
    rows = rows_of(random, count)
    found = compare_image("a", rows, rows[random.permutation(count)], TIGHT)
    assert (found.boxes, len(found.missing), len(found.spurious), len(found.class_mismatch)) == (
        count,
        0,
        0,
        0,
    )
    assert (found.box_px, found.score, found.ties) == (0.0, 0.0, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_every_box_is_in_one_place_of_the_matching(count, seed):
    random = np.random.default_rng(seed)
    first, second = rows_of(random, count, 60), rows_of(random, count // 2, 60)
    found = match_boxes(first, second)
    for column, (alone, total) in enumerate(
        ((found.missing, len(first)), (found.spurious, len(second)))
    ):
        places = [*found.pairs[:, column], *found.class_mismatch[:, column], *alone]
        assert sorted(places) == list(range(total))
    assert (first[found.pairs[:, 0], 5] == second[found.pairs[:, 1], 5]).all()
    assert (first[found.class_mismatch[:, 0], 5] != second[found.class_mismatch[:, 1], 5]).all()


def test_difference_is_measured_at_the_input():
    other = ROW + np.array([0, 2, 0, 0, -0.1, 0], np.float32)
    found = compare_image("a", ROW, other, TIGHT, scale=0.5)
    assert (found.boxes, found.box_px) == (1, 1.0)
    assert found.score == pytest.approx(0.1)
    assert found.score_share == pytest.approx(0.1 / 0.9)


def test_box_with_another_class_or_place():
    mismatch = compare_image("a", ROW, ROW + np.array([0, 0, 0, 0, 0, 1], np.float32), TIGHT)
    assert (mismatch.boxes, len(mismatch.class_mismatch), len(mismatch.missing)) == (0, 1, 0)
    elsewhere = compare_image(
        "a",
        ROW,
        ROW + np.array([50, 50, 50, 50, 0, 0], np.float32),
        TIGHT,
    )
    assert (elsewhere.boxes, len(elsewhere.missing), len(elsewhere.spurious)) == (0, 1, 1)


def test_boxes_at_one_place_are_paired_by_their_scores():
    rows = np.array([[10, 10, 30, 30, 0.9, 1], [10.2, 10, 30, 30, 0.3, 1]])
    found = compare_image("a", rows, rows[::-1] + np.array([0.01, 0, 0, 0, 0, 0]), TIGHT)
    assert (found.boxes, found.score) == (2, 0.0)
    assert found.box_px == pytest.approx(0.01)


def test_greedy_choice_would_leave_a_box_alone():
    """The first box overlaps both; taking its best leaves the second without one."""
    first = np.array([[0, 0, 20, 20, 0.5, 0], [4, 0, 24, 20, 0.5, 0]])
    second = np.array([[3, 0, 23, 20, 0.5, 0], [-4, 0, 16, 20, 0.5, 0]])
    assert len(match_boxes(first, second).pairs) == 2


@pytest.mark.parametrize("row", [[5, 5, 5, 5, 0.5, 0], [9, 9, 4, 4, 0.5, 0]])
def test_box_of_no_size_matches_itself(row):
    rows = np.array([row], np.float64)
    assert compare_image("a", rows, rows, TIGHT).boxes == 1


@pytest.mark.parametrize("column", [0, 4])
def test_nan_agrees_with_nothing(column):
    other = ROW.copy()
    other[0, column] = np.nan
    found = compare_image("a", ROW, other, TIGHT)
    assert len(found.missing) or not np.isfinite(found.box_px) or not np.isfinite(found.score)


def crowd(count: int = 20) -> np.ndarray:
    """Boxes far from each other."""
    return np.array([[40 * i, 0, 40 * i + 20, 20, 0.8, 0] for i in range(count)], np.float64)


def test_differences_are_excused_together_or_not_at_all():
    ours = crowd()
    theirs = ours[1:].copy()
    theirs[0, :4] += 3
    theirs[1, 5] = 2
    plain = compare_image("a", ours, theirs, TIGHT, proven_tie=lambda _: False)
    assert (list(plain.missing), len(plain.class_mismatch), plain.box_px) == ([0], 1, 3)
    assert (plain.ties, plain.boxes, plain.exact) == (0, 18, True)
    tied = compare_image("a", ours, theirs, TIGHT, proven_tie=lambda _: True)
    assert (len(tied.missing), len(tied.spurious), len(tied.class_mismatch)) == (0, 0, 0)
    assert (tied.ties, tied.boxes, tied.box_px, tied.exact) == (3, 17, 0, True)


@pytest.mark.parametrize(("lost", "asked"), [(1, 0.05), (2, 0.05), (3, 0.005)])
def test_where_many_boxes_differ_proposals_must_agree_ten_times_better(lost, asked):
    tolerances = []
    compare_image("a", crowd(), crowd()[lost:], TIGHT, proven_tie=tolerances.append)
    assert [one.px for one in tolerances] == [pytest.approx(asked)]


def test_boxes_that_agree_need_no_proof():
    def never(_: Tolerance) -> bool:
        raise AssertionError("there is nothing to excuse")

    assert compare_image("a", crowd(), crowd(), TIGHT, proven_tie=never).boxes == 20


def test_neighbour_excuses_only_what_the_tolerance_cannot():
    """Where it is guessed, another box in its place is a likely tie; a box that drifted a little
    is none.
    """
    ours = np.vstack([crowd(), [[2, 0, 22, 20, 0.3, 0]]])
    assert compare_image("a", ours, ours[:-1], TIGHT, guess=True).ties == 1
    drifted = ours + np.array([0.2, 0, 0, 0, 0, 0])
    assert compare_image("a", ours, drifted, TIGHT, guess=True).box_px == pytest.approx(0.2)
    few = ours.copy()
    few[0, 0] += 0.2
    found = compare_image("a", ours, few, TIGHT, guess=True)
    assert found.box_px == pytest.approx(0.2)
    assert found.ties == 0


def test_box_at_the_lowest_score_may_stand_alone():
    weak = np.vstack([crowd(), [[2000, 0, 2020, 20, 0.25, 0]]])
    assert len(compare_image("a", weak, weak[:-1], TIGHT, lowest=0.25).missing) == 0
    assert len(compare_image("a", weak, weak[:-1], TIGHT, lowest=0.2).missing) == 1


@settings(max_examples=20, deadline=None)
@given(st.floats(0.002, 0.5), st.integers(0, 2**32 - 1))
def test_a_drift_beyond_the_tolerance_is_always_seen(share, seed):
    random = np.random.default_rng(seed)
    rows = rows_of(random, 30, 2000)
    other = rows.copy()
    other[:, 4] *= 1 - share
    found = compare_image("a", rows, other, TIGHT)
    assert found.score_share > TIGHT.score or len(found.missing) > 0
