"""Means, spreads and paired differences of a few runs, in the standard library alone.

Student's t for whole degrees of freedom has a finite sum as its distribution function (Abramowitz
and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4); its quantile is found by halving
an interval.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

__all__ = ["CONFIDENCE", "Paired", "Spread", "paired", "spread", "t_quantile"]

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
    """Some values in short: their number, mean, sample standard deviation (None of one value
    alone), least and most.
    """

    count: int
    mean: float
    deviation: float | None
    least: float
    most: float


@dataclasses.dataclass(frozen=True)
class Paired:
    """The differences of paired values.

    Attributes:
        differences: one for each pair.
        spread: of these.
        interval: the 95 % confidence interval of the mean difference by Student's t; None of one
            pair alone.
    """

    differences: tuple[float, ...]
    spread: Spread
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Return what the differences show: ``higher``, ``lower``, ``no difference shown``, or that
        one pair shows nothing.
        """
        if self.interval is None:
            return "one pair alone shows nothing"
        low, high = self.interval
        if low > 0:
            return "higher"
        return "lower" if high < 0 else "no difference shown"


def spread(values: Sequence[float]) -> Spread:
    """Return some values in short. There must be at least one."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(len(values), statistics.fmean(values), deviation, min(values), max(values))


def paired(values: Sequence[float], baseline: Sequence[float]) -> Paired:
    """Return the differences of values to their partners in the baseline, in the same order; at
    least one pair.
    """
    differences = tuple(value - partner for value, partner in zip(values, baseline, strict=True))
    found = spread(differences)
    if found.deviation is None:
        return Paired(differences, found, None)
    half = (
        t_quantile((1 + CONFIDENCE) / 2, found.count - 1) * found.deviation / math.sqrt(found.count)
    )
    return Paired(differences, found, (found.mean - half, found.mean + half))


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t.

    Args:
        probability: 0.5 to 1, exclusive at 1.
        freedom: degrees of freedom, from 1.
    """
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if _t_below(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_below(value: float, freedom: int) -> float:
    """Return the probability that Student's t lies below ``value``, which is 0 or more."""
    angle = math.atan2(value, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    for step in range(1 + freedom % 2, freedom, 2):  # odd: cos, (2/3)cos³, …; even: 1, (1/2)cos², …
        total += term
        term *= step / (step + 1) * cosine**2
    within = (2 / math.pi) * (angle + sine * total) if freedom % 2 else sine * total
    return 0.5 + within / 2
