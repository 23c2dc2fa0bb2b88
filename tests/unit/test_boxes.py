"""Areas and IoU against written-out loops, in every shape they are used in."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.boxes import box_areas, box_iou


def boxes_of(count: int, seed: int) -> np.ndarray:
    corners = np.random.default_rng(seed).uniform(0, 60, (count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def slow_iou(first: np.ndarray, second: np.ndarray, margin: float = 0.0) -> float:
    (a, b, c, d), (e, f, g, h) = ((*box[:2] - margin, *box[2:] + margin) for box in (first, second))
    shared = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
    union = (c - a) * (d - b) + (g - e) * (h - f) - shared
    return shared / union if union > 0 else 0.0


@pytest.mark.parametrize("margin", [0.0, 0.5, 7.25])
def test_every_box_with_every_other(margin: float) -> None:
    first, second = boxes_of(9, 1), boxes_of(14, 2)
    expected = [[slow_iou(one, other, margin) for other in second] for one in first]
    found = box_iou(first[:, None], second, margin_px=margin)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.max() > 0.2


def test_box_by_box() -> None:
    first, second = boxes_of(200, 3), boxes_of(200, 4)
    expected = [slow_iou(one, other) for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(box_iou(first, second), expected, rtol=1e-12)


def test_a_margin_for_each_row() -> None:
    first, second, margins = boxes_of(5, 5), boxes_of(6, 6), np.arange(5.0)
    expected = [
        [slow_iou(one, other, margin) for other in second]
        for one, margin in zip(first, margins, strict=True)
    ]
    found = box_iou(first[:, None], second, margin_px=margins[:, None])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_boxes_without_area_overlap_nothing() -> None:
    points = np.array([[3.0, 3, 3, 3], [1, 1, 5, 5], [9, 9, 2, 2]])
    assert box_areas(points).tolist() == [0, 16, 0]
    assert box_iou(points[:, None], points).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert box_iou(points, points, margin_px=0.5)[0] == 1


def test_the_type_is_kept_and_empty_input_is_fine() -> None:
    boxes = boxes_of(3, 7).astype(np.float32)
    assert box_iou(boxes[:, None], boxes).dtype == np.float32
    assert box_iou(boxes[:0, None], boxes).shape == (0, 3)
