"""The cheapest assignment, against every one there is; `tests/parity` has the tracker's own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.tracking.small_object_tracker import assign


def cheapest(cost: np.ndarray, worst: float) -> float:
    """The least total over every assignment; a row without a column costs ``worst``."""
    rows, columns = cost.shape
    choices = itertools.product(range(-1, columns), repeat=rows)
    return min(
        sum(cost[row, column] if column >= 0 else worst for row, column in enumerate(choice))
        for choice in choices
        if len({column for column in choice if column >= 0})
        == sum(column >= 0 for column in choice)
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 4), st.floats(0.1, 1.2))
def test_the_assignment_is_the_cheapest_of_all(seed, rows, columns, worst):
    cost = np.random.default_rng(seed).uniform(0, 1.1, (rows, columns))
    found = assign(cost, worst)
    assert len(set(found[0].tolist())) == len(set(found[1].tolist())) == len(found[0])
    assert found[0].tolist() == sorted(found[0])
    assert (cost[found] <= worst).all()
    total = cost[found].sum() + worst * (rows - len(found[0]))
    assert total == pytest.approx(cheapest(cost, worst))
