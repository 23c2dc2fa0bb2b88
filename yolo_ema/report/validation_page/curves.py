"""Line charts as inline SVG: sized so that their text stays readable on a telephone."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_ema.constants import CHART_COLOURS
from yolo_ema.metrics.visdrone_protocol import Curve

__all__ = ["Series", "line_chart", "precision_recall_chart"]

_WIDTH, _HEIGHT = 380, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 40  # margins of the plot inside the chart


@dataclass(frozen=True)
class Series:
    """One line: its points (P,) each, and what the legend says."""

    name: str
    x: np.ndarray
    y: np.ndarray
    note: str = ""


def precision_recall_chart(
    class_names: Sequence[str], curves: Sequence[Curve], ap50: Sequence[float | None]
) -> str:
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
    at = np.minimum(np.searchsorted(curve.recall, levels, side="left"), len(best) - 1)
    return 100 * np.r_[levels, levels[-1]], 100 * np.r_[best[at], 0.0]


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """Return an HTML figure: the chart as SVG and a legend that wraps."""
    paths = "".join(_path(one, index, x_range, y_range) for index, one in enumerate(series))
    legend = "".join(
        f'<span class="key"><i style="border-top:3px {_dash(index)} '
        f'{_colour(index)}"></i>{html.escape(one.name)} '
        f"<b>{html.escape(one.note)}</b></span>"
        for index, one in enumerate(series)
    )
    label = html.escape(f"{y_label} over {x_label}")
    axes = _axes(x_label, y_label, x_range, y_range)
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{axes}{paths}</svg>'
    )
    return f'<figure class="chart">{drawing}<figcaption>{legend}</figcaption></figure>'


def _path(
    one: Series, index: int, x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
    points = " ".join(
        f"{_x(x, x_range):.1f},{_y(y, y_range):.1f}" for x, y in zip(one.x, one.y, strict=True)
    )
    dash = ' stroke-dasharray="5 3"' if _dash(index) == "dashed" else ""
    title = html.escape(f"{one.name} {one.note}".strip())
    return (
        f'<polyline class="line" points="{points}" '
        f'stroke="{_colour(index)}"{dash}><title>{title}</title></polyline>'
    )


def _axes(
    x_label: str, y_label: str, x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _LEFT + share * (right - _LEFT), bottom - share * (bottom - _TOP)
        anchor = "end" if share == 1 else "middle"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" '
            f'text-anchor="end">{_tick(y_range, share)}</text>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" '
            f'text-anchor="{anchor}">{_tick(x_range, share)}</text>'
        )
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{html.escape(x_label)}</text>'
    )
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="rotate(-90 11 {middle})" x="11" y="{middle}" '
        f'text-anchor="middle">{html.escape(y_label)}</text>'
    )
    return "".join(parts)


def _tick(limits: tuple[float, float], share: float) -> str:
    value = limits[0] + share * (limits[1] - limits[0])
    return f"{value:.0f}" if limits[1] - limits[0] >= 8 else f"{value:.3g}"


def _x(value: float, limits: tuple[float, float]) -> float:
    return _LEFT + (value - limits[0]) / (limits[1] - limits[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, limits: tuple[float, float]) -> float:
    return (
        _HEIGHT
        - _BOTTOM
        - (value - limits[0]) / (limits[1] - limits[0]) * (_HEIGHT - _TOP - _BOTTOM)
    )


def _colour(index: int) -> str:
    return CHART_COLOURS[index % len(CHART_COLOURS)]


def _dash(index: int) -> str:
    return "dashed" if index // len(CHART_COLOURS) % 2 else "solid"
