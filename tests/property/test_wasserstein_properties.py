"""Properties of the normalised Wasserstein distance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.engine.training.wasserstein import SIZE_PX, normalised_wasserstein

COORDINATE = st.floats(-200, 200, width=32)
SIDE = st.floats(0.5, 100, width=32)


@st.composite
def boxes(draw):
    x, y, w, h = draw(COORDINATE), draw(COORDINATE), draw(SIDE), draw(SIDE)
    return torch.tensor([x, y, x + w, y + h])


@settings(max_examples=200, deadline=None)
@given(boxes(), boxes())
def test_it_is_symmetric_and_between_0_and_1(one, other):
    similarity = normalised_wasserstein(one, other)
    assert 0 <= similarity <= 1
    assert similarity == normalised_wasserstein(other, one)


@settings(max_examples=100, deadline=None)
@given(boxes())
def test_equal_boxes_are_similar_by_1(box):
    assert normalised_wasserstein(box, box) == pytest.approx(1, abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(boxes(), boxes(), st.floats(0.5, 50, width=32))
def test_a_shift_costs_a_small_box_no_more_than_a_large_one(one, other, slip):
    moved = torch.tensor([slip, 0, slip, 0])
    small, large = (float(normalised_wasserstein(box, box + moved)) for box in (one, other))
    assert small == pytest.approx(large, abs=2e-4)
    assert small == pytest.approx(float(torch.exp(torch.tensor(-slip / SIZE_PX))), abs=2e-4)


@settings(max_examples=100, deadline=None)
@given(boxes(), st.floats(1, 20, width=32), st.floats(21, 60, width=32))
def test_it_falls_with_distance_even_without_overlap(box, near, far):
    far_away = torch.tensor([200.0, 0, 200.0, 0])
    assert normalised_wasserstein(box, box + far_away * near / 20) > normalised_wasserstein(
        box, box + far_away * far / 20
    )
