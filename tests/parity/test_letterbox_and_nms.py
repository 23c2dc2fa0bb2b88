"""Our letterbox and NMS against Ultralytics', to the last bit: on random and on nasty boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401 - Ultralytics' NMS runs on its kernel where it is imported
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ultralytics.data.augment import LetterBox
from ultralytics.utils import nms, ops

from yolo_ema.inference.letterbox import Letterbox
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.inference.suppression import select_boxes, suppress

SIDES = st.integers(1, 700)
STRIDES = st.sampled_from((None, 8, 32, 64))


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, STRIDES, st.integers(0, 2**32 - 1))
@example(1, 700, 640, 640, None, 0)
@example(700, 1, 32, 640, 32, 0)
@example(640, 640, 640, 640, 32, 0)
@example(639, 641, 640, 640, 32, 0)
def test_images_go_in_as_in_ultralytics(height, width, input_h, input_w, stride, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    ours = Letterbox.of((height, width), (input_h, input_w), stride)
    theirs = LetterBox((input_h, input_w), auto=stride is not None, stride=stride or 32)(
        image=image
    )
    np.testing.assert_array_equal(ours.apply(image), theirs)
    assert ours.input_hw == theirs.shape[:2]


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, STRIDES, st.integers(0, 2**32 - 1))
def test_boxes_come_back_as_in_ultralytics(height, width, input_h, input_w, stride, seed):
    letterbox = Letterbox.of((height, width), (input_h, input_w), stride)
    boxes = np.random.default_rng(seed).normal(0.5, 1, (20, 4)) * np.tile(
        letterbox.input_hw[::-1], 2
    )
    boxes = boxes.astype(np.float32)
    theirs = torch.from_numpy(boxes.copy())
    ops.scale_boxes(letterbox.input_hw, theirs, (height, width))
    np.testing.assert_array_equal(letterbox.to_image(boxes), theirs.numpy())


def plain(raw: np.ndarray, wanted: PredictorSettings, hw, max_det, *, end2end=False) -> np.ndarray:
    """Ultralytics' NMS without its time limit, and with the distance of classes that we use."""
    (rows,) = nms.non_max_suppression(
        torch.from_numpy(raw.copy())[None],
        wanted.conf,
        wanted.iou,
        wanted.classes,
        wanted.agnostic,
        multi_label=wanted.multi_label,
        max_det=max_det,
        max_time_img=math.inf,
        max_wh=max(7680, *hw),
        end2end=end2end,
    )
    return rows.numpy()


def candidates(rng, count, classes, *, spread=640.0, grid=None, levels=None) -> np.ndarray:
    """(N, 4 + K): centers over so many pixels; on a grid and with few levels there are ties."""
    centers = rng.uniform(0, spread, (count, 2))
    sizes = rng.gamma(2.0, 20.0, (count, 2))
    scores = rng.beta(0.3, 2.0, (count, classes))
    if grid:
        centers, sizes = np.round(centers / grid) * grid, np.ceil(sizes / grid) * grid
    if levels:
        scores = np.round(scores * levels) / levels
    return np.concatenate((centers, sizes, scores), 1).astype(np.float32)


WANTED = st.builds(
    PredictorSettings,
    conf=st.sampled_from((0.0, 0.001, 0.1, 0.25, 0.5, 1.0)),
    iou=st.sampled_from((0.0, 0.1, 0.45, 0.5, 0.7, 0.95, 1.0)),
    classes=st.sampled_from((None, [0], [1, 2], [7])),
    agnostic=st.booleans(),
    multi_label=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(
    wanted=WANTED,
    count=st.sampled_from((0, 1, 2, 7, 60, 300)),
    classes=st.sampled_from((1, 3, 10)),
    spread=st.sampled_from((20.0, 640.0, 9000.0)),
    grid=st.sampled_from((None, 4, 32)),
    levels=st.sampled_from((None, 4, 50)),
    max_det=st.sampled_from((1, 5, 1000)),
    hw=st.sampled_from(((640, 640), (320, 9000))),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_boxes_that_stay_are_those_of_ultralytics(
    wanted, count, classes, spread, grid, levels, max_det, hw, seed
):
    rng = np.random.default_rng(seed)
    rows = candidates(rng, count, classes, spread=spread, grid=grid, levels=levels)
    if len(rows) == 6:  # their NMS would take six columns for boxes that need none
        rows = rows[:5]
    ours = suppress(rows, wanted, hw, max_det)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, plain(rows.T, wanted, hw, max_det))


@pytest.mark.slow
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_thousands_of_boxes(agnostic, multi_label):
    """Of more than 30,000 the best; Ultralytics takes these in any order where scores are equal."""
    rng = np.random.default_rng(3)
    rows = candidates(rng, 8400, 10)
    rows[:, 4:] = rng.permutation(np.linspace(0.0002, 0.9, rows[:, 4:].size)).reshape(-1, 10)
    wanted = PredictorSettings(conf=0.001, agnostic=agnostic, multi_label=multi_label)
    for max_det in (300, 30_000):
        ours = suppress(rows, wanted, (640, 640), max_det)
        np.testing.assert_array_equal(ours, plain(rows.T, wanted, (640, 640), max_det))
    assert len(ours) > 1000


@pytest.mark.parametrize("iou", [0.0, 0.5, 0.7])
def test_boxes_without_area_beyond_the_image_and_nan_scores(iou):
    rng = np.random.default_rng(5)
    rows = candidates(rng, 200, 4, grid=16, levels=20)
    rows[:40, 2:4] = 0
    rows[40:60, 2] = 0
    rows[60:80, :2] -= 5000
    rows[80:100, :2] += 20_000  # further than the classes are moved apart
    rows[100:110, 4:] = np.nan
    rows[110:120, 5] = np.nan
    rows[120:130, 2:4] *= -1
    rows[130:140, 0] = np.nan
    rows[140:145, 1] = np.inf
    rows[150:160] = rows[150]
    for multi_label in (False, True):
        wanted = PredictorSettings(conf=0.1, iou=iou, multi_label=multi_label)
        ours = suppress(rows, wanted, (640, 640), 1000)
        np.testing.assert_array_equal(ours, plain(rows.T, wanted, (640, 640), 1000))
        assert len(ours) > 20


def test_an_overlap_of_just_the_threshold_does_not_suppress():
    """In float32 the nearest number to 0.7 lies below it, and that to 0.6 above."""
    for tenths in (6, 7, 9):
        rows = np.array([[5, 5, 10, 10, 0.9], [5, 5, 10, tenths, 0.8]], np.float32)
        for threshold in (tenths / 10, np.nextafter(tenths / 10, 0), np.nextafter(tenths / 10, 1)):
            wanted = PredictorSettings(conf=0.1, iou=float(threshold))
            ours = suppress(rows, wanted, (64, 64), 10)
            np.testing.assert_array_equal(ours, plain(rows.T, wanted, (64, 64), 10))


@settings(max_examples=100, deadline=None)
@given(WANTED, st.sampled_from((0, 1, 300)), st.sampled_from((1, 20, 500)), st.integers(0, 99))
def test_boxes_that_need_no_nms_are_chosen_as_in_ultralytics(wanted, count, max_det, seed):
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        (
            rng.uniform(0, 640, (count, 4)),
            np.round(rng.uniform(0, 1, (count, 1)), 2),
            rng.integers(0, 8, (count, 1)),
        ),
        1,
    ).astype(np.float32)
    theirs = plain(rows, wanted, (640, 640), max_det, end2end=True)
    np.testing.assert_array_equal(select_boxes(rows, wanted, max_det), theirs)
