"""How high objects of a class are, and how unlike a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class BodySize(NamedTuple):
    """Heights above the ground between which objects of one class shape their box.

    Attributes:
        high_m, sigma_m: of the highest point, and its standard deviation.
        uneven_m: by how much they reach farther to one side than to the other, a standard
            deviation.
        low_m: of the lowest point.
        floats: 1 where the lowest point is high if the highest is, as of people who sit; 0 where it
            stays.
    """

    high_m: float
    sigma_m: float
    uneven_m: float
    low_m: float = 0.0
    floats: float = 0.0


CLASS_SIZES: dict[str, BodySize] = {
    "pedestrian": BodySize(1.7, 0.25, 0.1),
    "people": BodySize(1.55, 0.25, 0.15, low_m=0.2, floats=1.0),
    "person": BodySize(1.7, 0.25, 0.1),
    "bicycle": BodySize(1.05, 0.2, 0.15),
    "car": BodySize(1.1, 0.25, 0.2),
    "van": BodySize(2.05, 0.35, 0.3),
    "truck": BodySize(3.1, 0.6, 0.4),
    "tricycle": BodySize(1.1, 0.3, 0.25),
    "awning-tricycle": BodySize(2.0, 0.3, 0.2),
    "bus": BodySize(3.0, 0.4, 0.2),
    "motor": BodySize(1.0, 0.2, 0.2),
    "motorcycle": BodySize(1.0, 0.2, 0.2),
}
"""Sizes by class. A car's bonnet and boot are lower than its roof, so that it counts for less."""

UNKNOWN_SIZE = BodySize(*[float("nan")] * len(BodySize._fields))


def sizes_of(class_names: Sequence[str]) -> Array:
    """Return (n, 5): the sizes of classes, in the order of `BodySize`; NaN where unknown."""
    numbers = {name: row for row, name in enumerate(dict.fromkeys(class_names))}
    table = np.array([CLASS_SIZES.get(name, UNKNOWN_SIZE) for name in numbers], float)
    rows = np.array([numbers[name] for name in class_names], int)
    return table.reshape(-1, len(BodySize._fields))[rows]
