"""What each plan gained on a dataset and cost in pixels, as weights carry it: ``auto`` and the
default thresholds follow it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

AP_PER_DOUBLING = 1.0
"""Points of AP that twice the pixels through the network must bring. Three trainings that differ in
their seed alone lie half a point to 0.8 apart, so that less says little, and costs twice the time.
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
        """The plan to take: see `worth_its_pixels`."""
        return self.rows[worth_its_pixels([(row.ap, row.megapixels) for row in self.rows])]

    def where(self, takes: Callable[[PlanRow], bool]) -> PlanFigures | None:
        """Return those of the plans that ``takes`` says; None where there are none."""
        rows = tuple(row for row in self.rows if takes(row))
        return replace(self, rows=rows) if rows else None

    def for_input(self, factor: float) -> PlanFigures | None:
        """Return what holds for the same weights in a file whose own input has sides ``factor``
        times as long: all if they are the same, otherwise the plans without tiles, which would be
        of another size. None where nothing is left.
        """
        if factor == 1:
            return self
        whole = self.where(lambda row: not row.tiles)
        return whole and replace(
            whole,
            rows=tuple(replace(row, input_scale=row.input_scale / factor) for row in whole.rows),
        )

    def as_entries(self) -> dict[str, str]:
        """Return them as a checkpoint or an exported file keeps them: one text."""
        rows = [[float(value) for value in astuple(row)] for row in self.rows]
        return {_KEY: json.dumps({"iou": self.iou, "rows": rows})}

    @classmethod
    def of_entries(cls, entries: Mapping[str, Any]) -> PlanFigures | None:
        """Return what `as_entries` put into a file; None where it says nothing sensible."""
        entry = entries.get(_KEY)
        try:
            content = json.loads(entry) if isinstance(entry, str) else entry
            rows = content["rows"] if isinstance(content, Mapping) else None
            if content is None or not isinstance(rows, list) or not 0 < len(rows) <= _MOST_ROWS:
                return None
            return cls(tuple(_row(row) for row in rows), _number(content["iou"], 0, 1))
        except (ValueError, TypeError, LookupError, RecursionError):
            return None


def scaled_side(side: float, scale: float, stride: int) -> int:
    """Return a side of an input ``scale`` times as large, rounded up to the stride, in pixels."""
    return math.ceil(side * scale / stride - 1e-6) * stride  # 1.3 times 640 is 832, not 864


def worth_its_pixels(plans: Sequence[tuple[float, float]]) -> int:
    """Return which plan to take: a plan with more pixels through the network than another is the
    better one if its AP is higher by `AP_PER_DOUBLING` for each time that they double.

    Args:
        plans: AP in percent and megapixels (above 0) of each, one or more.
    """
    worth = [ap - AP_PER_DOUBLING * math.log2(megapixels) for ap, megapixels in plans]
    return max(range(len(plans)), key=lambda number: (worth[number], -plans[number][1]))


def _row(values: Any) -> PlanRow:
    scale, tiles, whole, ap, megapixels, shrinking, conf = values
    return PlanRow(
        _number(scale, 0.1, 16),
        bool(_number(tiles, 0, 1)),
        bool(_number(whole, 0, 1)),
        _number(ap, 0, 100),
        _number(megapixels, 1e-6, 1e6),
        _number(shrinking, 0, 1e4),
        _number(conf, 0, 1),
    )


def _number(value: Any, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    if not math.isfinite(value) or not lowest <= value <= highest:
        raise ValueError("out of range")
    return float(value)
