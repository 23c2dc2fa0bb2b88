"""COCO's protocol against pycocotools and faster-coco-eval, number by number."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.errors import DataError
from yolo_ema.metrics.coco_figures import COCO_MAX_DETS, evaluate_coco

LIBRARIES = {
    "pycocotools": ("pycocotools.coco", "pycocotools.cocoeval", "COCO", "COCOeval"),
    "faster_coco_eval": ("faster_coco_eval", "faster_coco_eval", "COCO", "COCOeval_faster"),
}


def scene(seed: int, images: int, truths: int, found: int, *, coarse: bool):
    """Random boxes from 4 to 200 pixels; ``coarse`` makes equal scores, equal overlaps and boxes on
    the size limits common.
    """
    rng = np.random.default_rng(seed)
    sides = np.array([8, 16, 32, 64, 96, 144]) if coarse else np.arange(4, 200)
    ground_truth, detections = {}, {}
    for n in range(images):
        count = int(rng.integers(0, truths + 1))
        boxes = np.column_stack(
            [rng.integers(-10, 300, (count, 2)) // 8 * 8, rng.choice(sides, (count, 2))]
        )
        ground_truth[f"i{n:02}"] = np.column_stack(
            [boxes, np.ones(count), rng.integers(1, 5, count)]
        ).astype(float)
        near = ground_truth[f"i{n:02}"].copy()
        near[:, :4] += rng.integers(-8, 9, (count, 4)) * (1 if coarse else rng.random((count, 4)))
        near[:, 2:4] = np.maximum(near[:, 2:4], 1)
        noise = np.column_stack(
            [
                rng.integers(0, 300, (found, 2)),
                rng.choice(sides, (found, 2)),
                np.ones(found),
                rng.integers(1, 6, found),
            ]
        )
        rows = np.vstack([near, near, noise])
        rows[:, 4] = rng.integers(0, 6, len(rows)) / 5 if coarse else rng.random(len(rows))
        detections[f"i{n:02}"] = rng.permutation(rows)
    return ground_truth, detections


def by_library(
    library: str, ground_truth, detections, class_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision (T, R, K, S) and recall (T, K, S, 4) as the library computes them."""
    coco_module, eval_module, coco_name, eval_name = LIBRARIES[library]
    coco_class = getattr(pytest.importorskip(coco_module), coco_name)
    eval_class = getattr(pytest.importorskip(eval_module), eval_name)
    names = sorted(ground_truth)
    truths = [
        (n, row)
        for n, name in enumerate(names)
        for row in ground_truth[name]
        if row[5] <= class_count and row[4]
    ]
    content = {
        "info": {},
        "images": [{"id": n, "width": 1000, "height": 1000} for n in range(len(names))],
        "categories": [{"id": k, "name": str(k)} for k in range(1, class_count + 1)],
        "annotations": [
            {
                "id": i + 1,
                "image_id": n,
                "category_id": int(row[5]),
                "bbox": row[:4].tolist(),
                "area": float(row[2] * row[3]),
                "iscrowd": 0,
            }
            for i, (n, row) in enumerate(truths)
        ],
    }
    found = [
        {
            "image_id": n,
            "category_id": int(row[5]),
            "bbox": row[:4].tolist(),
            "score": float(row[4]),
        }
        for n, name in enumerate(names)
        for row in detections.get(name, [])
        if row[5] <= class_count
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_class()
        truth.dataset = content
        truth.createIndex()
        judge = eval_class(truth, truth.loadRes(found), "bbox")
        judge.params.maxDets = list(COCO_MAX_DETS)
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][..., -1], judge.eval["recall"]


def assert_equal(library, ground_truth, detections, class_count=4):
    names = tuple(map(str, range(class_count)))
    scores = evaluate_coco(ground_truth, detections, class_names=names)
    precision, recall = by_library(library, ground_truth, detections, class_count)
    precision = (
        np.where(precision < 0, np.nan, precision).mean(axis=1).transpose(2, 1, 0)
    )  # (S, K, T)
    recall = np.where(recall < 0, np.nan, recall).transpose(2, 1, 0, 3)  # (S, K, T, 4)
    np.testing.assert_allclose(scores.average_precision, 100 * precision, atol=1e-10, rtol=0)
    np.testing.assert_allclose(scores.recall, 100 * recall, atol=1e-10, rtol=0)
    return scores


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_kept_libraries(library, coarse, seed):
    scores = assert_equal(library, *scene(seed, images=6, truths=40, found=60, coarse=coarse))
    assert 5 < scores.summary["AP50"] < 95


@pytest.mark.parametrize("library", LIBRARIES)
def test_equals_them_with_more_than_500_detections_of_a_class(library):
    ground_truth, detections = scene(9, images=2, truths=60, found=700, coarse=False)
    for rows in (*ground_truth.values(), *detections.values()):
        rows[:, 5] = 1
    assert_equal(library, ground_truth, detections, class_count=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(0, 8), st.integers(1, 8))
def test_equals_pycocotools_on_sparse_scenes(seed, images, truths, found):
    ground_truth, detections = scene(seed, images, truths, found, coarse=True)
    detections["i00"][0, 5] = 1  # pycocotools refuses an empty list
    assert_equal("pycocotools", ground_truth, detections)


def test_figures_are_means_over_the_cells_that_exist():
    ground_truth, detections = scene(1, images=6, truths=40, found=20, coarse=False)
    precision, recall = by_library("pycocotools", ground_truth, detections, 5)
    summary = evaluate_coco(
        ground_truth, detections, class_names=tuple("abcde")
    ).summary  # class e never occurs

    def mean(values):
        return pytest.approx(100 * values[values > -1].mean(), abs=1e-10)

    assert summary["AP"] == mean(precision[..., 0])
    assert summary["AP50"] == mean(precision[0, :, :, 0])
    assert summary["AP75"] == mean(precision[5, :, :, 0])
    assert summary["AP_small"] == mean(precision[..., 1])
    assert summary["AP_large"] == mean(precision[..., 3])
    assert summary["AR10"] == mean(recall[..., 0, 1])
    assert summary["AR500"] == mean(recall[..., 0, 3])
    assert summary["AR_medium"] == mean(recall[..., 2, 3])


def test_ignored_regions_and_others_take_no_part():
    truth = np.array(
        [
            [10, 10, 20, 20, 1, 4],
            [0, 0, 100, 100, 0, 0],
            [50, 50, 20, 20, 0, 11],
            [70, 70, 9, 9, 0, 4],
        ],
        float,
    )
    found = np.array([[60, 60, 20, 20, 0.9, 4], [10, 10, 20, 20, 0.8, 4]], float)
    scores = evaluate_coco({"a": truth}, {"a": found})
    assert scores.summary["AP50"] == pytest.approx(
        50
    )  # the detection in the ignored region is a false positive here
    assert scores.ground_truth_count[0].sum() == 1
    assert scores.per_class["bus"] == dict.fromkeys(scores.summary)


def test_nothing_to_find_gives_no_figure():
    assert set(evaluate_coco({"a": np.zeros((0, 6))}, {}).summary.values()) == {None}


def test_nothing_found_gives_zero():
    assert evaluate_coco({"a": np.array([[0, 0, 9, 9, 1, 1]], float)}, {}).summary["AP"] == 0.0


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ({"a": []}, {"b": []}, "image 'b', which has no ground truth"),
        ({"a": np.zeros((2, 5))}, {}, r"shape \(2, 5\); expected \(N, 6\)"),
        ({"a": []}, {"a": [[0, 0, 1, 1, np.nan, 1]]}, "row 1, holds a number that is not finite"),
    ],
)
def test_faults_are_named(truth, found, message):
    with pytest.raises(DataError, match=message):
        evaluate_coco(truth, found)
