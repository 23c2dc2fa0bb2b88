"""Means, spreads and intervals against known values and slow, independent forms."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.studies.comparison import paired, spread

# Two-sided 95 % points of Student's t, as every printed table has them.
TABLE = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    9: 2.262,
    10: 2.228,
    30: 2.042,
    120: 1.980,
}


def quantile_of(pairs: int) -> float:
    """The 95 % point that the interval of that many pairs was made with."""
    result = paired([float(number) for number in range(pairs)], [0.0] * pairs)
    low, high = result.interval
    return (high - low) / 2 / (result.spread.deviation / math.sqrt(pairs))


@pytest.mark.parametrize(("freedom", "value"), TABLE.items())
def test_the_interval_is_made_with_the_quantile_of_the_printed_tables(freedom, value):
    assert quantile_of(freedom + 1) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("freedom", range(1, 26))
def test_the_density_integrated_up_to_the_quantile_gives_the_probability_back(freedom):
    """Simpson's rule over the density, whose constant comes from the gamma function."""
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(
        freedom * math.pi
    )
    # t = √freedom · tan(angle) makes the range finite and the integrand smooth.
    end, steps = math.atan(quantile_of(freedom + 1) / math.sqrt(freedom)), 2000

    def integrand(angle: float) -> float:
        return constant * math.sqrt(freedom) * math.cos(angle) ** (freedom - 1)

    weights = [1, *([4, 2] * (steps // 2))[:-1], 1]
    total = (
        sum(weight * integrand(end * place / steps) for place, weight in enumerate(weights))
        * end
        / steps
        / 3
    )
    assert 0.5 + total == pytest.approx(0.975, abs=1e-8)


def test_three_pairs_by_hand():
    found = paired([10.0, 11.0, 12.5], [9.0, 10.5, 11.0])  # differences 1.0, 0.5, 1.5
    assert found.differences == pytest.approx((1.0, 0.5, 1.5))
    assert (found.spread.mean, found.spread.deviation) == pytest.approx((1.0, 0.5))
    half = 4.302653 * 0.5 / math.sqrt(3)
    assert found.interval == pytest.approx((1 - half, 1 + half), abs=1e-6)
    assert found.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 1.1, 0.9], "higher"),
        ([-1.0, -1.1, -0.9], "lower"),
        ([1.0, -1.0, 0.1], "no difference shown"),
        ([1.0], "one pair alone shows nothing"),
        ([0.0, 0.0, 0.0], "no difference shown"),
    ],
)
def test_the_verdict_follows_the_interval(values, verdict):
    assert paired(values, [0.0] * len(values)).verdict == verdict


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8))
@settings(deadline=None, max_examples=50)
def test_a_spread_is_that_of_the_values(values):
    found = spread(values)
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.deviation == pytest.approx(deviation, abs=1e-6)
    assert (found.least, found.most, found.count) == (min(values), max(values), len(values))


def test_the_interval_holds_the_true_mean_in_19_of_20_studies():
    """Two thousand studies of three pairs each, whose true difference is known."""
    numbers = random.Random(1)
    true, held = 0.3, 0
    for _ in range(2000):
        values = [numbers.gauss(true, 1.0) for _ in range(3)]
        low, high = paired(values, [0.0, 0.0, 0.0]).interval
        held += low <= true <= high
    assert 0.935 <= held / 2000 <= 0.965
