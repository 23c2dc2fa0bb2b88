"""The greedy matching of all images at once against the plain loop, and the pairs against the full
table of overlaps.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.errors import DataError
from yolo_ema.metrics import greedy_matching as matching
from yolo_ema.metrics.greedy_matching import BoxTable, box_rows, match_greedily, overlapping_pairs


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), unique=True, max_size=7), max_size=10))
def test_matches_as_one_at_a_time_would(wishes):
    taken, expected = set(), []
    for wished in wishes:
        free = [truth for truth in wished if truth not in taken][:1]
        taken.update(free)
        expected += [[truth] == free for truth in wished]
    detection = np.repeat(np.arange(len(wishes)), [len(wished) for wished in wishes])
    truth = np.array([truth for wished in wishes for truth in wished], dtype=np.int64)
    assert match_greedily(detection, truth).tolist() == expected


def table(rng, images, boxes, *, by_score):
    rows = []
    for _ in range(images):
        n = int(rng.integers(boxes // 2, boxes))
        rows.append(
            np.column_stack(
                [
                    rng.integers(0, 8, (n, 2)),
                    rng.integers(0, 12, (n, 2)),
                    rng.random(n).round(1),
                    rng.integers(1, 5, n),
                ]
            )
        )
    return BoxTable.of_images([one.astype(float) for one in rows], 3, by_score=by_score)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_the_full_table(seed, monkeypatch):
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", 40)  # so that there are several pieces
    rng = np.random.default_rng(seed)
    found, truths = table(rng, 4, 25, by_score=True), table(rng, 4, 20, by_score=False)
    absorbing = rng.random(len(truths)) < 0.3
    expected = {}
    for d in range(len(found)):
        for t in range(len(truths)):
            if (found.image_id[d], found.class_id[d]) != (truths.image_id[t], truths.class_id[t]):
                continue
            (a, b, w, h), (x, y, u, v) = found.ltwh[d], truths.ltwh[t]
            common = max(0, min(a + w, x + u) - max(a, x)) * max(0, min(b + h, y + v) - max(b, y))
            whole = w * h if absorbing[t] else w * h + u * v - common
            if common and common / whole >= 0.2:
                expected[d, t] = common / whole
    pairs = overlapping_pairs(found, truths, 0.2, absorbing)
    assert (
        dict(
            zip(
                zip(pairs.detection.tolist(), pairs.gt.tolist(), strict=True),
                pairs.overlap.tolist(),
                strict=True,
            )
        )
        == expected
    )
    assert len(expected) > 5


def test_preference_is_overlap_then_the_later_and_marked_ones_last():
    pairs = matching.Pairs(
        np.array([0, 0, 0, 0]), np.array([0, 1, 2, 3]), np.array([0.6, 0.9, 0.6, 0.7])
    )
    assert pairs.by_preference(np.array([False, True, False, False])).gt.tolist() == [3, 2, 0, 1]


def test_table_sorts_by_image_class_and_falling_score_and_keeps_file_ranks():
    first = np.array(
        [
            [0, 0, 1, 1, 0.1, 2],
            [1, 0, 1, 1, 0.9, 1],
            [2, 0, 1, 1, 0.5, 7],
            [3, 0, 1, 1, 0.5, 2],
            [4, 0, 1, 1, 0.5, 2],
        ]
    )
    second = np.array([[5, 0, 1, 1, 0.3, 1.0]])
    boxes = BoxTable.of_images([first, np.zeros((0, 6)), second], 3, by_score=True)
    assert boxes.ltwh[:, 0].tolist() == [1, 3, 4, 0, 5]
    assert boxes.file_rank.tolist() == [1, 3, 4, 0, 0]
    assert boxes.image_id.tolist() == [0, 0, 0, 0, 2]


def test_no_images_at_all():
    empty = BoxTable.of_images([], 3, by_score=True)
    assert len(empty) == 0
    assert len(overlapping_pairs(empty, empty, 0.5).overlap) == 0


@pytest.mark.parametrize("rows", [[[0.0] * 6, [0.0] * 5], [["left"] * 6]])
def test_rows_that_are_no_array_of_numbers_are_named(rows):
    with pytest.raises(DataError, match="the truth of image 'a' is not an array of numbers"):
        box_rows({"a": rows}, ["a"], "the truth")


def test_infinite_numbers_are_named():
    with pytest.raises(
        DataError, match="the truth of image 'a', row 2, holds a number that is not finite"
    ):
        box_rows({"a": np.array([[0.0] * 6, [0, 0, np.inf, 1, 1, 1]])}, ["a"], "the truth")
