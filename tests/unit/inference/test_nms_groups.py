"""One vehicle is not car and van at once: NMS over groups of classes, after that of each class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.boxes import box_iou
from yolo_ema.errors import ConfigError
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.inference.suppression import select_boxes, suppress, suppress_groups
from yolo_ema.options.class_names import nms_groups
from yolo_ema.options.detector import DetectorConfig

NAMES = {0: "pedestrian", 3: "car", 4: "van", 5: "truck", 8: "bus"}


def literal(rows: np.ndarray, groups: list[list[int]], limit: float) -> np.ndarray:
    """Go through the boxes of each group one by one, the strongest first."""
    for group in groups:
        kept: list[int] = []
        for row in sorted(range(len(rows)), key=lambda row: (-rows[row, 4], row)):
            inside = rows[row, 5] in group
            if not inside or not any(
                rows[other, 5] in group and box_iou(rows[row, :4], rows[other, :4]) > limit
                for other in kept
            ):
                kept.append(row)
        rows = rows[sorted(kept)]
    return rows


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 40),
    limit=st.sampled_from([0.3033, 0.5517, 0.7903]),
    groups=st.sampled_from([[], [[3, 4, 5, 8]], [[3, 4], [4, 8]]]),
)
def test_it_follows_the_literal_rule(
    seed: int, count: int, limit: float, groups: list[list[int]]
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 12, (count, 2))
    rows = np.column_stack(
        [corner, corner + rng.integers(4, 12, (count, 2)), rng.random(count), rng.choice(9, count)]
    ).astype(np.float32)
    given_settings = PredictorSettings(nms_groups=groups, group_iou=limit)
    np.testing.assert_array_equal(
        suppress_groups(rows, given_settings), literal(rows, groups, limit)
    )


def test_car_and_van_at_one_place_become_one_and_a_pedestrian_stays() -> None:
    def candidate(x: float, scores: dict[int, float]) -> list[float]:
        return [x, 50, 40, 20, *(scores.get(number, 0.0) for number in range(9))]

    rows = np.array(
        [
            candidate(50, {3: 0.6}),
            candidate(51, {4: 0.7}),
            candidate(50.5, {0: 0.5}),
            candidate(120, {3: 0.4}),
        ],
        np.float32,
    )
    loose, grouped = PredictorSettings(), PredictorSettings(nms_groups=[(3, 4, 5, 8)])
    assert suppress(rows, loose, (640, 640), 100)[:, 5].tolist() == [4, 3, 0, 3]
    one_each = suppress(rows, grouped, (640, 640), 100)
    assert one_each[:, 5].tolist() == [4, 0, 3]
    # The limit counts what stays.
    assert len(suppress(rows, grouped, (640, 640), 3)) == 3
    assert select_boxes(suppress(rows, loose, (640, 640), 100), grouped, 100).tolist() == (
        one_each.tolist()
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.lists(st.integers(0, 8), max_size=3),
    groups=st.sampled_from([[], [[3, 4, 5, 8]], [[3, 4], [4, 8]], [[4, 8], [3, 4]]]),
)
def test_what_is_asked_for_is_what_all_classes_leave_of_it(
    seed: int, classes: list[int], groups: list[list[int]]
) -> None:
    """A stronger car drops a van, also where vans alone are asked for."""
    rng = np.random.default_rng(seed)
    boxes = np.column_stack([rng.integers(20, 40, (30, 2)), rng.integers(10, 30, (30, 2))])
    rows = np.column_stack([boxes, rng.random((30, 9)) ** 4]).astype(np.float32)
    every = PredictorSettings(conf=0.1, nms_groups=groups, group_iou=0.3)
    some = PredictorSettings(conf=0.1, nms_groups=groups, group_iou=0.3, classes=classes)
    found = suppress(rows, every, (64, 64), 100)
    np.testing.assert_array_equal(
        suppress(rows, some, (64, 64), 100), found[np.isin(found[:, 5], classes)]
    )
    alone = suppress(rows, PredictorSettings(conf=0.1), (64, 64), 100)
    left = select_boxes(alone, every, 100)
    np.testing.assert_array_equal(
        select_boxes(alone, some, 100), left[np.isin(left[:, 5], classes)]
    )


def test_groups_are_named_by_class() -> None:
    assert nms_groups(["car, van,truck"], NAMES) == ((3, 4, 5),)
    with pytest.raises(ConfigError, match="know no class 'vann'; did you mean 'van'"):
        nms_groups(["car,vann"], NAMES)
    with pytest.raises(ConfigError, match="two classes or more"):
        DetectorConfig(nms_groups=("car",))
