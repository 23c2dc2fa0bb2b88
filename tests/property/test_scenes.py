"""What holds for every scene, whatever the seed and the size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.scenes import draw_scene

SIDES = st.integers(64, 400)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**63 - 1),
    width=SIDES,
    height=SIDES,
    objects=st.one_of(st.none(), st.integers(1, 200)),
)
def test_labels_are_well_formed(seed, width, height, objects):
    scene = draw_scene(seed, image_wh=(width, height), objects=objects)
    assert scene.image_bgr.shape == (height, width, 3)
    assert scene.image_bgr.dtype == np.uint8
    left, top, box_width, box_height, score, category, truncation, occlusion = scene.annotations.T
    assert scene.annotations.dtype == np.int64
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (box_width >= 1).all()
    assert (box_height >= 1).all()
    assert (left + box_width <= width).all()
    assert (top + box_height <= height).all()
    assert np.isin(category, np.arange(12)).all()
    np.testing.assert_array_equal(score, ~np.isin(category, [0, 11]))
    assert np.isin(truncation, [0, 1]).all()
    assert np.isin(occlusion, [0, 1, 2]).all()
    np.testing.assert_array_equal(scene.identities == 0, category == 0)
    numbers = scene.identities[scene.identities > 0]
    assert len(np.unique(numbers)) == len(numbers)
