"""Where tiles lie, by examples."""

from __future__ import annotations

import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.tiling.grid import tile_grid


def test_a_full_hd_frame_in_tiles_of_640():
    tiles = tile_grid((1920, 1080), (640, 640), 128)
    assert len(tiles) == 8
    assert tiles[:4].tolist() == [
        [0, 0, 640, 640],
        [426, 0, 1066, 640],
        [853, 0, 1493, 640],
        [1280, 0, 1920, 640],
    ]
    assert tiles[4].tolist() == [0, 440, 640, 1080]


def test_an_image_that_fits_is_one_tile():
    assert tile_grid((640, 480), (640, 640)).tolist() == [[0, 0, 640, 480]]
    assert tile_grid((1, 1), (640, 640), 100).tolist() == [[0, 0, 1, 1]]


def test_tiles_that_fit_exactly_do_not_overlap():
    assert tile_grid((4, 2), (2, 2)).tolist() == [[0, 0, 2, 2], [2, 0, 4, 2]]


def test_each_axis_has_its_overlap():
    assert len(tile_grid((100, 100), (50, 50), (0, 25))) == 2 * 3


@pytest.mark.parametrize(
    ("image_wh", "tile_wh", "overlap", "reason"),
    [
        ((0, 10), (5, 5), 0, "at least 1 pixel"),
        ((10, 10), (5, 0), 0, "at least 1 pixel"),
        ((10, 10), (5, 5), 5, "expected 0 to 4"),
        ((10, 10), (5, 5), -1, "expected 0 to 4"),
    ],
)
def test_impossible_sizes_are_refused(image_wh, tile_wh, overlap, reason):
    with pytest.raises(ConfigError, match=reason):
        tile_grid(image_wh, tile_wh, overlap)
