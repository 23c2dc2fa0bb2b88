"""The merge of tiles' boxes against its rules, box by box, and what must change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from slow_merge import slow_merge

from yolo_ema.options.tiles import MERGES
from yolo_ema.tiling import merge as merge_module
from yolo_ema.tiling.grid import tile_grid
from yolo_ema.tiling.merge import merge_views


@st.composite
def cases(draw):
    """Boxes of tiles and often of the whole frame, on a lattice of quarter pixels and eighths of
    scores, so that ties abound.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image_wh = draw(st.tuples(st.integers(8, 60), st.integers(8, 60)))
    tile = draw(st.tuples(st.integers(6, 40), st.integers(6, 40)))
    views = tile_grid(
        image_wh,
        tile,
        (draw(st.integers(0, tile[0] - 1)) // 2, draw(st.integers(0, tile[1] - 1)) // 2),
    )[:12]
    if draw(st.booleans()):
        views = np.vstack([views, [[0, 0, *image_wh]]])
    objects = rng.random((draw(st.integers(0, 8)), 2)) * image_wh
    sides = rng.integers(2, 160, (len(objects), 2)) / 4
    kinds = rng.integers(0, 2, len(objects))
    found = []
    for view in views:
        boxes = np.column_stack((objects - sides / 2, objects + sides / 2)) + rng.normal(
            0, draw(st.sampled_from((0, 1))), (len(objects), 4)
        )
        boxes = np.round(np.clip(boxes, np.tile(view[:2], 2), np.tile(view[2:], 2)) * 4) / 4
        seen = (boxes[:, 2:] - boxes[:, :2] > 0).all(axis=1)
        rows = np.column_stack((boxes, rng.integers(1, 9, len(boxes)) / 8, kinds))[seen]
        found.append(rows.astype(np.float32))
    return found, views, image_wh


@settings(max_examples=250, deadline=None)
@given(
    cases(), st.sampled_from(MERGES), st.sampled_from((0.3, 0.5, 0.7)), st.sampled_from((None, 3))
)
def test_it_gives_what_its_rules_give_box_by_box(case, method, threshold, max_det):
    found, views, image_wh = case
    fast = merge_views(found, views, image_wh, method=method, threshold=threshold, max_det=max_det)
    slow = slow_merge(found, views, image_wh, method=method, threshold=threshold, max_det=max_det)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-4 if method == "weighted-nms" else 0)
    assert fast.dtype == np.float32


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from(MERGES), st.integers(0, 2**32 - 1), st.sampled_from((1, 7, 10**6)))
def test_order_of_views_and_boxes_and_size_of_blocks_change_no_bit(case, method, seed, block):
    found, views, image_wh = case
    # No plan has a view twice; of equal boxes in equal views nothing says which is the first.
    assume(len(np.unique(views, axis=0)) == len(views))
    expected = merge_views(found, views, image_wh, method=method)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(views))
    shuffled = [found[view][rng.permutation(len(found[view]))] for view in order]
    before = merge_module._PAIRS_A_BLOCK
    merge_module._PAIRS_A_BLOCK = block
    try:
        again = merge_views(shuffled, views[order], image_wh, method=method)
    finally:
        merge_module._PAIRS_A_BLOCK = before
    assert again.tobytes() == expected.tobytes()


@settings(max_examples=100, deadline=None)
@given(cases())
def test_a_single_view_is_left_unchanged(case):
    found, views, _ = case
    view = views[-1]
    rows = found[-1]
    merged = merge_views([rows], view[None], tuple(view[2:]))
    assert sorted(map(tuple, merged.tolist())) == sorted(map(tuple, rows.tolist()))


def test_these_cases_exercise_every_rule():
    """Cases as above, where joins, covers and NMS each change the outcome: otherwise the comparison
    would prove nothing.
    """
    changed = dict.fromkeys(("COVERED_SHARE", "JOINED_IOU", "threshold"), 0)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        views = tile_grid((60, 40), (30, 40), (8, 0))
        objects = rng.random((5, 2)) * (60, 40)
        sides = rng.integers(8, 80, (5, 2)) / 2
        found = []
        for view in views:
            boxes = np.clip(
                np.column_stack((objects - sides / 2, objects + sides / 2))
                + rng.normal(0, 0.5, (5, 4)),
                np.tile(view[:2], 2),
                np.tile(view[2:], 2),
            )
            seen = (boxes[:, 2:] - boxes[:, :2] > 1).all(axis=1)
            found.append(
                np.column_stack((boxes, rng.random(5), np.zeros(5)))[seen].astype(np.float32)
            )
        usual = merge_views(found, views, (60, 40))
        changed["threshold"] += len(usual) != len(
            merge_views(found, views, (60, 40), threshold=1.0)
        )
        for name in ("COVERED_SHARE", "JOINED_IOU"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(merge_module, name, 2.0)
                changed[name] += len(usual) != len(merge_views(found, views, (60, 40)))
    assert min(changed.values()) > 5, changed
