"""What must hold of the protocols whatever the boxes are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.metrics.coco_figures import evaluate_coco
from yolo_ema.metrics.error_analysis import diagnose
from yolo_ema.metrics.visdrone_protocol import evaluate_official

SIZE = (120, 90)


@st.composite
def scenes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth, found = {}, {}
    for n in range(draw(st.integers(1, 4))):
        count, loose = draw(st.integers(0, 12)), draw(st.integers(0, 12))
        truth[f"i{n}"] = np.column_stack(
            [
                rng.integers(0, 100, (count, 2)),
                rng.integers(2, 30, (count, 2)),
                np.ones(count),
                rng.integers(0, 4, count),
            ]
        ).astype(float)
        truth[f"i{n}"][truth[f"i{n}"][:, 5] == 0, 4] = 0
        objects = truth[f"i{n}"][truth[f"i{n}"][:, 5] > 0]
        noise = np.column_stack(
            [
                rng.integers(0, 100, (loose, 2)),
                rng.integers(2, 30, (loose, 2)),
                np.ones(loose),
                rng.integers(1, 4, loose),
            ]
        )
        rows = np.vstack([objects + rng.integers(-2, 3, objects.shape) * [1, 1, 0, 0, 0, 0], noise])
        rows[:, 4] = rng.permutation(np.linspace(0.05, 0.95, len(rows)))
        found[f"i{n}"] = rows[np.argsort(-rows[:, 4])]
    return truth, found, dict.fromkeys(truth, SIZE)


def figures(truth, found, sizes):
    return evaluate_official(truth, found, sizes).official, evaluate_coco(truth, found).summary


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_figures_lie_between_0_and_100_and_recall_grows_with_the_limit(scene):
    for one in figures(*scene):
        if one["AP"] is None:
            continue
        assert all(value is None or -1e-9 <= value <= 100 + 1e-9 for value in one.values())
        assert one["AR1"] <= one["AR10"] <= one["AR100"] <= one["AR500"]
        assert one["AP75"] <= one["AP50"] + 1e-9


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_only_the_order_of_scores_matters(scene):
    truth, found, sizes = scene
    found = {
        name: rows.round(6) for name, rows in found.items()
    }  # no scores that squeezing would make equal
    squeezed = {
        name: rows * [1, 1, 1, 1, 0.1, 1] + [0, 0, 0, 0, 0.3, 0] for name, rows in found.items()
    }
    assert figures(truth, squeezed, sizes) == figures(truth, found, sizes)


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_the_objects_themselves_score_100(scene):
    truth, _, sizes = scene
    objects = {name: rows[rows[:, 5] > 0] for name, rows in truth.items()}
    official, coco = figures(truth, objects, sizes)
    assert official["AP"] in (None, pytest.approx(100))
    assert coco["AP"] in (None, pytest.approx(100))


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_weak_false_alarms_change_nothing_but_strong_ones_never_help(scene):
    truth, found, sizes = scene
    official = evaluate_official(truth, found, sizes).official
    weak = {name: np.vstack([rows, [[500, 500, 5, 5, 0.001, 1]]]) for name, rows in found.items()}
    strong = {name: np.vstack([[[500, 500, 5, 5, 0.999, 1]], rows]) for name, rows in found.items()}
    if official["AP"] is not None:
        assert evaluate_official(truth, weak, sizes).official["AP"] == pytest.approx(official["AP"])
        assert evaluate_official(truth, strong, sizes).official["AP"] <= official["AP"] + 1e-9


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_every_object_and_detection_is_in_the_diagnosis_once(scene):
    truth, found, sizes = scene
    diagnosis = diagnose(truth, found, sizes, confidence=0.3)
    objects = evaluate_official(truth, found, sizes).ground_truth_count
    assert diagnosis.confusion[:-1].sum(axis=1).tolist() == objects.tolist()
    judged = sum(len(one.found) + len(one.false_alarms) for one in diagnosis.images)
    assert diagnosis.confusion[:, :-1].sum() == judged
    assert sum(one.count for one in diagnosis.errors[:-1]) == sum(
        len(one.false_alarms) for one in diagnosis.images
    )
    assert sum(len(one.found) + len(one.missed) for one in diagnosis.images) == objects.sum()
    assert all(one.ap50_lost >= -1e-9 for one in diagnosis.errors)
