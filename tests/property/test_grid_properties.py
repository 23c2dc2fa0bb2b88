"""Properties of the grid of tiles."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.tiling.grid import tile_grid

SIDES = st.integers(1, 90)


@st.composite
def cases(draw):
    image, tile = (draw(SIDES), draw(SIDES)), (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    overlap = (draw(st.integers(0, tile[0] - 1)), draw(st.integers(0, tile[1] - 1)))
    return image, tile, overlap


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_pixel_is_covered_by_equal_tiles_inside_the_image(case):
    (width, height), (tile_w, tile_h), overlap = case
    tiles = tile_grid((width, height), (tile_w, tile_h), overlap)
    covered = np.zeros((height, width), int)
    for x1, y1, x2, y2 in tiles.tolist():
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1, y2 - y1) == (min(tile_w, width), min(tile_h, height))
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == 1 or (covered > 0).all()
    assert len({tuple(tile) for tile in tiles.tolist()}) == len(tiles)
    assert tiles.tolist() == sorted(tiles.tolist(), key=lambda tile: (tile[1], tile[0]))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_neighbours_overlap_as_requested_and_no_tile_is_redundant(case):
    (width, height), tile, overlap = case
    tiles = tile_grid((width, height), tile, overlap)
    for axis, (image, side, least) in enumerate(zip((width, height), tile, overlap, strict=True)):
        starts = sorted(set(tiles[:, axis].tolist()))
        ends = sorted(set(tiles[:, axis + 2].tolist()))
        assert starts[0] == 0
        assert ends[-1] == image
        overlaps = [end - start for end, start in zip(ends[:-1], starts[1:], strict=True)]
        assert all(one >= least for one in overlaps)
        assert not overlaps or max(overlaps) - min(overlaps) <= 1, "spread evenly"
        fewer = len(starts) - 1
        assert fewer == 0 or fewer * side - (fewer - 1) * least < image


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 2**32 - 1))
def test_a_box_no_larger_than_the_overlap_is_whole_in_some_tile(case, seed):
    (width, height), tile, overlap = case
    rng = np.random.default_rng(seed)
    w, h = (
        int(rng.integers(0, min(least, image) + 1))
        for least, image in zip(overlap, (width, height), strict=True)
    )
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    tiles = tile_grid((width, height), tile, overlap)
    assert any(
        x1 <= x and y1 <= y and x + w <= x2 and y + h <= y2 for x1, y1, x2, y2 in tiles.tolist()
    )
