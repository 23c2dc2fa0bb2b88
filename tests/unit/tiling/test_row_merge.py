"""Merging row by row gives what merging all at once gives, and keeps no finished row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yolo_ema.options.tiles import MERGES
from yolo_ema.tiling.grid import tile_grid
from yolo_ema.tiling.merge import clusters, merge_views
from yolo_ema.tiling.row_merge import merge_by_rows

TILE = 64


def found_in(tiles: np.ndarray, objects: np.ndarray, random: np.random.Generator) -> list:
    """What a detector would find: each object clipped to each tile, a little off."""
    found = []
    for tile in tiles:
        xyxy = np.clip(objects[:, :4], tile[[0, 1, 0, 1]], tile[[2, 3, 2, 3]])
        seen = (xyxy[:, 2:] - xyxy[:, :2] > 3).all(axis=1)
        rows = np.column_stack((xyxy, objects[:, 4:]))[seen]
        rows[:, 4] = random.random(len(rows))
        rows[:, :4] += random.normal(0, 0.4, (len(rows), 4))
        rows[:, :4] = np.clip(rows[:, :4], tile[[0, 1, 0, 1]], tile[[2, 3, 2, 3]])
        found.append(rows.astype(np.float32))
    return found


def by_rows(tiles: np.ndarray, found: list):
    starts = np.unique(tiles[:, 1])
    for start, following in zip(starts, [*starts[1:], np.inf], strict=True):
        numbers = np.flatnonzero(tiles[:, 1] == start)
        yield following, [(tiles[number], found[number]) for number in numbers]


def ordered(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


@example(seed=5210, count=82, largest=81, method="agnostic-nms")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 120),
    largest=st.integers(8, 150),
    method=st.sampled_from(MERGES),
)
def test_boxes_are_those_of_merging_everything_at_once(seed, count, largest, method):
    random = np.random.default_rng(seed)
    wh = (300, 400)
    size = random.uniform(4, largest, (count, 2))
    start = random.uniform(-10, wh, (count, 2))
    classes = random.integers(0, 3, (count, 1))
    objects = np.column_stack((start, start + size, np.zeros(count), classes))
    tiles = tile_grid(wh, (TILE, TILE), 16)
    found = found_in(tiles, objects, random)

    def merge(rows, views):
        return merge_views(rows, views, wh, method=method)

    parts = list(merge_by_rows(by_rows(tiles, found), merge))
    streamed = np.concatenate([np.empty((0, 6), np.float32), *parts])
    np.testing.assert_array_equal(ordered(streamed), ordered(merge(found, tiles)))


def test_finished_boxes_are_returned_before_the_next_row_is_requested():
    tiles = tile_grid((64, 1000), (TILE, TILE), 16)
    asked, given = [], []

    def rows():
        for number, tile in enumerate(tiles):
            asked.append(number)
            middle = tile[1] + 30
            box = np.array([[10, middle, 20, middle + 4, 0.5, 0]], np.float32)
            yield (tiles[number + 1][1] if number + 1 < len(tiles) else np.inf), [(tile, box)]

    for part in merge_by_rows(rows(), lambda found, views: np.concatenate(found)):
        given.append(len(part))
        assert sum(given) == len(asked)
    assert given == [1] * len(tiles)


def test_a_chain_over_all_rows_waits_for_its_end():
    tiles = tile_grid((64, 300), (TILE, TILE), 16)
    chain = np.array([[10, y, 30, y + 14, 0.5, 0] for y in range(0, 280, 10)], np.float32)
    found = [chain[(chain[:, 1] >= t[1]) & (chain[:, 3] <= t[3])] for t in tiles]
    parts = list(
        merge_by_rows(
            by_rows(tiles, found), lambda rows, views: merge_views(rows, views, (64, 300))
        )
    )
    assert len(parts) == 1
    everything = merge_views(found, tiles, (64, 300))
    np.testing.assert_array_equal(ordered(parts[0]), ordered(everything))


@pytest.mark.parametrize("count", [0, 1])
def test_clusters_of_very_few_boxes(count):
    assert clusters(np.zeros((count, 4))).tolist() == list(range(count))


def test_clusters_are_those_of_going_through_all_pairs():
    random = np.random.default_rng(3)
    start = random.uniform(0, 200, (80, 2))
    boxes = np.column_stack((start, start + random.uniform(2, 25, (80, 2))))
    label = list(range(80))
    for _ in range(80):
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            for j, (u1, v1, u2, v2) in enumerate(boxes):
                if min(x2, u2) > max(x1, u1) and min(y2, v2) > max(y1, v1):
                    label[i] = label[j] = min(label[i], label[j])
    assert clusters(boxes).tolist() == label
