"""Line charts as the page's template draws them: everything in units of a small SVG, so that their
text stays readable on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.constants import CHART_COLOURS
from yolo_ema.metrics.visdrone_protocol import Curve

WIDTH, HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 8, 10, HEIGHT - 40  # edges of the plot inside the chart


@dataclass(frozen=True)
class Series:
    """One line: its points (P,) each, and what the legend says."""

    name: str
    x: np.ndarray
    y: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A drawn line: its points (P, 2) in the SVG's units, its style, and its entry in the legend.

    Beyond ten lines, which are as many as there are colours, they are dashed.
    """

    name: str
    note: str
    points_xy: np.ndarray
    colour: str
    dashed: bool


@dataclass(frozen=True)
class Chart:
    """A chart: its lines, the names of its axes, and their ticks as place and text."""

    lines: tuple[Line, ...]
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]

    wide = WIDTH
    high = HEIGHT
    left = LEFT
    right = RIGHT
    top = TOP
    bottom = BOTTOM


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> Chart:
    """Return series as a chart whose axes have the given ranges."""
    lines = tuple(
        Line(
            name=curve.name,
            note=curve.note,
            points_xy=np.column_stack(
                [_place(curve.x, x_range, LEFT, RIGHT), _place(curve.y, y_range, BOTTOM, TOP)]
            ),
            colour=CHART_COLOURS[index % len(CHART_COLOURS)],
            dashed=bool(index // len(CHART_COLOURS) % 2),
        )
        for index, curve in enumerate(series)
    )
    return Chart(
        lines, x_label, y_label, _ticks(x_range, LEFT, RIGHT), _ticks(y_range, BOTTOM, TOP)
    )


def _place(values: np.ndarray, limits: tuple[float, float], low: float, high: float) -> np.ndarray:
    return low + (values - limits[0]) / (limits[1] - limits[0]) * (high - low)


def _ticks(limits: tuple[float, float], low: float, high: float) -> tuple[tuple[float, str], ...]:
    decimals = ".0f" if limits[1] - limits[0] >= 8 else ".3g"
    return tuple(
        (low + share * (high - low), format(limits[0] + share * (limits[1] - limits[0]), decimals))
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )


def precision_recall_chart(
    class_names: Sequence[str], curves: Sequence[Curve], ap50: Sequence[float | None]
) -> Chart:
    """Return the precision envelopes of the classes that occur, over recall, both in percent."""
    series = [
        Series(name, *_envelope(curve), note=f"{area:.1f}")
        for name, curve, area in zip(class_names, curves, ap50, strict=True)
        if area is not None
    ]
    return line_chart(
        series, x_label="recall (%)", y_label="precision (%)", x_range=(0, 100), y_range=(0, 100)
    )


def _envelope(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return some 200 points of the highest precision at each recall or beyond, in percent, down to
    zero at the end.
    """
    if not len(curve.recall):
        return np.array([0.0]), np.array([0.0])
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    levels = np.unique(np.r_[np.linspace(0, curve.recall[-1], 200), curve.recall[-1]])
    index = np.minimum(np.searchsorted(curve.recall, levels, side="left"), len(best) - 1)
    return 100 * np.r_[levels, levels[-1]], 100 * np.r_[best[index], 0.0]
