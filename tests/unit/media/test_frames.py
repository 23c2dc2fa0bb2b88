"""Rates as fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest

from yolo_ema.media.frames import exact_rate


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (30, Fraction(30)),
        (30000 / 1001, Fraction(30000, 1001)),
        (12.5, Fraction(25, 2)),
        (0.5, Fraction(1, 2)),
        (1 / 3600, Fraction(1, 3600)),
    ],
)
def test_a_rate_is_the_fraction_that_was_meant(fps: float, expected: Fraction) -> None:
    assert exact_rate(fps) == expected
