"""What each plan gained on a dataset and cost in pixels, as weights carry it: ``auto`` and the
default thresholds follow it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

__all__ = ["NEARLY_AP", "PlanFigures", "PlanRow", "cheapest_good"]

NEARLY_AP = 0.5
"""Points of AP below the highest that are worth fewer pixels: the spread of three trainings that
differ in their seed alone is about as large.
"""

_KEY = "plan_figures"
_MOST_ROWS = 32


@dataclass(frozen=True)
class PlanRow:
    """How one plan did.

    Attributes:
        input_scale: sides of the input by those of the weights' own.
        tiles: images larger than the input went through in tiles of it.
        whole_frame: the whole image went through, too, or alone.
        ap: official AP in percent.
        megapixels: through the network, mean of the images.
        shrinking: how many times the images were shrunk to the input, their median; 1 in tiles.
        conf: the score at which F1 is highest.
    """

    input_scale: float
    tiles: bool
    whole_frame: bool
    ap: float
    megapixels: float
    shrinking: float
    conf: float


@dataclass(frozen=True)
class PlanFigures:
    """The plans that were measured, and the IoU of NMS that it was done with.

    Attributes:
        rows: one or more.
        iou: overlap above which NMS dropped the weaker of two boxes of a class.
    """

    rows: tuple[PlanRow, ...]
    iou: float

    @property
    def best(self) -> PlanRow:
        """The plan to take: see `cheapest_good`."""
        return self.rows[cheapest_good([(row.ap, row.megapixels) for row in self.rows])]

    def as_entries(self) -> dict[str, str]:
        """Return them as a checkpoint or an exported file keeps them: one text."""
        rows = [[float(value) for value in astuple(row)] for row in self.rows]
        return {_KEY: json.dumps({"iou": self.iou, "rows": rows})}

    @classmethod
    def of_entries(cls, entries: Mapping[str, Any]) -> PlanFigures | None:
        """Return what `as_entries` put into a file; None where it says nothing sensible."""
        found = entries.get(_KEY)
        try:
            content = json.loads(found) if isinstance(found, str) else found
            rows = content["rows"] if isinstance(content, Mapping) else None
            if content is None or not isinstance(rows, list) or not 0 < len(rows) <= _MOST_ROWS:
                return None
            return cls(tuple(_row(row) for row in rows), _number(content["iou"], 0, 1))
        except (ValueError, TypeError, LookupError, RecursionError):
            return None


def cheapest_good(plans: Sequence[tuple[float, float]]) -> int:
    """Return which plan to take: of those whose AP is at most `NEARLY_AP` below the highest, the
    one with the fewest pixels through the network; of equal ones that of the higher AP.

    Args:
        plans: AP in percent and megapixels of each, one or more.
    """
    enough = max(ap for ap, _ in plans) - NEARLY_AP
    good = [number for number, (ap, _) in enumerate(plans) if ap >= enough]
    return min(good, key=lambda number: (plans[number][1], -plans[number][0]))


def _row(values: Any) -> PlanRow:
    scale, tiles, whole, ap, megapixels, shrinking, conf = values
    return PlanRow(
        _number(scale, 0.1, 16),
        bool(_number(tiles, 0, 1)),
        bool(_number(whole, 0, 1)),
        _number(ap, 0, 100),
        _number(megapixels, 0, 1e6),
        _number(shrinking, 0, 1e4),
        _number(conf, 0, 1),
    )


def _number(value: Any, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    if not math.isfinite(value) or not lowest <= value <= highest:
        raise ValueError("out of range")
    return float(value)
