"""What becomes of boxes that tiles' borders cut, by examples."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.tiling.grid import tile_grid
from yolo_ema.tiling.merge import merge_views

LEFT, RIGHT, FRAME = (0, 0, 640, 640), (512, 0, 1152, 640), (0, 0, 1152, 640)
IMAGE_WH = (1152, 640)


def rows(*boxes):
    """Rows of x1, y1, x2, y2[, score[, class]]."""
    return np.array([[*box, *(0.9, 0)[len(box) - 4 :]] for box in boxes], np.float32).reshape(-1, 6)


def merge(*found, views=(LEFT, RIGHT, FRAME), **settings):
    found = [*found, *(rows() for _ in range(len(views) - len(found)))]
    return merge_views(found, np.array(views), IMAGE_WH, **settings)


def test_a_cut_box_goes_where_the_other_tile_shows_the_object_whole():
    merged = merge(rows((600, 100, 640, 140, 0.95)), rows((600, 100, 680, 140, 0.6)))
    np.testing.assert_array_equal(merged, rows((600, 100, 680, 140, 0.6)))


def test_a_cut_box_goes_where_the_whole_frame_shows_the_object_whole():
    merged = merge(
        rows((100, 100, 640, 500)), rows((512, 100, 1100, 500)), rows((100, 100, 1100, 500, 0.5))
    )
    np.testing.assert_array_equal(merged, rows((100, 100, 1100, 500, 0.5)))


def test_a_cut_box_that_nothing_covers_stays():
    merged = merge(rows((300, 100, 640, 200)), rows((900, 100, 950, 200, 0.5)))
    assert len(merged) == 2


def test_parts_of_an_object_longer_than_the_overlap_are_joined():
    merged = merge(
        rows((300, 100, 640, 200, 0.7)), rows((512, 101, 900, 202, 0.8)), views=(LEFT, RIGHT)
    )
    np.testing.assert_array_equal(merged, rows((300, 100, 900, 202, 0.8)))


def test_an_object_longer_than_a_tile_is_joined_from_three():
    views = ((0, 0, 500, 640), (400, 0, 800, 640), (700, 0, 1152, 640))
    merged = merge(
        rows((390, 50, 500, 90)), rows((400, 50, 800, 90)), rows((700, 50, 1000, 90)), views=views
    )
    np.testing.assert_array_equal(merged, rows((390, 50, 1000, 90)))


def test_an_object_over_the_corner_of_four_tiles_is_joined():
    views = tile_grid((1000, 1000), (600, 600), 200)
    whole = np.array([250, 300, 900, 800])
    parts = [
        rows((*np.maximum(whole[:2], view[:2]), *np.minimum(whole[2:], view[2:]))) for view in views
    ]
    merged = merge_views(parts, views, (1000, 1000))
    np.testing.assert_array_equal(merged, rows(tuple(whole)))


def test_two_objects_cut_by_the_same_borders_are_not_joined():
    merged = merge(rows((300, 100, 640, 200)), rows((512, 400, 900, 500)), views=(LEFT, RIGHT))
    assert len(merged) == 2
    side_by_side = merge(
        rows((500, 100, 638, 200)), rows((514, 190, 700, 290)), views=(LEFT, RIGHT)
    )
    assert len(side_by_side) == 2


def test_classes_stay_apart_by_default():
    found = rows((600, 100, 640, 140, 0.9, 1)), rows((600, 100, 680, 140, 0.6, 2))
    assert len(merge(*found)) == 2
    np.testing.assert_array_equal(merge(*found, method="agnostic-nms"), found[1])


def test_the_images_own_border_cuts_nothing():
    twins = rows((0, 0, 30, 30), (5, 0, 30, 30, 0.5))
    assert len(merge(twins, rows(), rows((0, 0, 100, 100, 0.3)))) == 3


def test_boxes_of_one_view_never_drop_each_other():
    crowd = rows((100, 100, 120, 160), (104, 100, 124, 160, 0.8))
    assert len(merge(crowd)) == 2
    again = rows((101, 100, 121, 160, 0.7), (105, 100, 125, 160, 0.6))
    np.testing.assert_array_equal(merge(crowd, views=(FRAME,)), merge(crowd, rows(), again))


def test_ways_to_merge():
    pair = rows((100, 100, 140, 140, 0.8)), rows(), rows((110, 110, 130, 130, 0.4))
    assert len(merge(*pair)) == 2
    assert len(merge(*pair, method="ios-nms")) == 1
    shifted = rows((100, 100, 140, 140, 0.6)), rows(), rows((104, 100, 144, 140, 0.2))
    np.testing.assert_allclose(
        merge(*shifted, method="weighted-nms")[:, :4], [[101, 100, 141, 140]]
    )
    with pytest.raises(ConfigError, match=r"did you mean 'ios-nms'"):
        merge(*pair, method="ios_nms")


def test_max_det_keeps_the_best():
    merged = merge(
        rows((0, 0, 10, 10, 0.3), (50, 0, 60, 10, 0.9)), rows((700, 0, 710, 10, 0.5)), max_det=2
    )
    np.testing.assert_array_equal(merged[:, 4], np.array([0.9, 0.5], np.float32))


def test_nothing_at_all():
    assert merge().shape == (0, 6)
    assert merge_views([], np.empty((0, 4)), (10, 10)).shape == (0, 6)


def crowd_of_views(wh, classes, seed=0):
    rng = np.random.default_rng(seed)
    views = np.vstack([[[0, 0, *wh]], tile_grid(wh, (640, 640), 128)])
    centers, sides = rng.random((4000, 2)) * wh, np.exp(rng.normal(3.3, 0.5, (4000, 2)))
    kinds, scores = rng.integers(0, classes, 4000), rng.random(4000)
    found = []
    for view in views:
        seen = ((centers >= view[:2]) & (centers < view[2:])).all(axis=1)
        boxes = np.column_stack((centers - sides / 2, centers + sides / 2))[seen] + rng.normal(
            0, 1, (seen.sum(), 4)
        )
        boxes = np.clip(boxes, np.tile(view[:2], 2), np.tile(view[2:], 2))
        found.append(
            np.column_stack(
                (boxes, np.clip(scores[seen] + rng.normal(0, 0.05, seen.sum()), 0, 1), kinds[seen])
            )
        )
    return found, views


def test_ten_thousand_boxes_become_about_as_many_as_there_are_objects():
    found, views = crowd_of_views((1920, 1080), classes=10)
    assert sum(map(len, found)) > 10_000
    assert 3900 < len(merge_views(found, views, (1920, 1080))) < 4200
