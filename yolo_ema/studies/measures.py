"""The figures that a study compares, by the names that tables give them, and where they stand in a
record's evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PRIMARY", "PRIMARY_NAMES", "figure"]

PRIMARY = "official AP"

_PLACES = {
    "official AP": ("official", "AP"),
    "official AP50": ("official", "AP50"),
    "official AR500": ("official", "AR500"),
    "COCO AP": ("coco", "AP"),
    "COCO AP50": ("coco", "AP50"),
    "COCO AP small": ("coco", "AP_small"),
}

PRIMARY_NAMES = tuple(_PLACES)


def figure(evaluation: Mapping[str, Any], name: str) -> float | None:
    """Return a figure in percent; None where it does not exist, as AP where there is nothing to
    find.
    """
    protocol, key = _PLACES[name]
    value: float | None = evaluation[protocol][key]
    return value
