"""Plots of a study: pairs and their differences, figures against milliseconds, learning curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from yolo_ema.constants import CHART_COLOURS
from yolo_ema.io.atomic_files import atomic_path
from yolo_ema.studies.comparison import Comparison, Row

_GREY = "#555555"
_MARKS = "osD^vP"
_WIDTH_IN_LETTERS = 80  # of an axis with the default font
_CURVE = {
    "detect": ("AP (Ultralytics)", 100, "AP in training (Ultralytics' own), percent"),
    "classify": ("top-1", 1, "top-1 in training, percent"),
}
"""By task, the curve's name in records, its factor to percent, and its axis."""


def draw_plots(
    comparison: Comparison, folder: Path, *, only: Sequence[str] | None = None
) -> list[Path]:
    """Write a study's plots as PNG files, all that the figures allow or those named ``only``, and
    return their paths.

    Raises:
        DiskFullError: the disk is full.
    """
    study = comparison.study
    drawings = {"pairs": _pairs, "differences": _differences, "curves": _curves}
    if not any(row.to_baseline for row in comparison.rows):
        del drawings["differences"]
    if len(study.evaluations) > 1:
        drawings["milliseconds"] = _milliseconds
    names = {f"{study.name}-{what}.png": draw for what, draw in drawings.items()}
    return [
        _save(folder / name, draw, comparison)
        for name, draw in names.items()
        if only is None or name in only
    ]


def _save(path: Path, draw: Callable[[Axes, Comparison], None], comparison: Comparison) -> Path:
    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_GREY)
    draw(axes, comparison)
    with atomic_path(path) as beside:
        figure.savefig(beside, metadata={"Software": None})
    return path


def _first_rows(comparison: Comparison) -> list[Row]:
    return [
        row for row in comparison.rows if row.at == comparison.study.evaluations[0] and row.spread
    ]


def _pairs(axes: Axes, comparison: Comparison) -> None:
    """Draw each seed's points, joined across the arms, and each arm's mean."""
    rows = _first_rows(comparison)
    for index, seed in enumerate(comparison.study.seeds):
        points = [(place, row.values[seed]) for place, row in enumerate(rows) if seed in row.values]
        colour, mark = CHART_COLOURS[index % len(CHART_COLOURS)], _MARKS[index % len(_MARKS)]
        axes.plot(
            *zip(*points, strict=True) if points else ((), ()),
            color=colour,
            marker=mark,
            alpha=0.8,
            label=f"seed {seed}",
        )
    for place, row in enumerate(rows):
        if row.spread:
            label = "mean" if place == 0 else None
            axes.plot(
                [place - 0.18, place + 0.18],
                [row.spread.mean] * 2,
                color="black",
                linewidth=2.5,
                label=label,
            )
    names = [row.arm.name for row in rows]
    axes.set_xticks(range(len(rows)), names)
    if rows and max(map(len, names)) > _WIDTH_IN_LETTERS / len(rows):
        axes.tick_params(axis="x", labelrotation=30)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel(
        f"{comparison.study.primary}, percent, at {comparison.study.evaluations[0].key}"
    )
    axes.set_title("Each seed's runs, joined", loc="left", fontsize=11)
    axes.legend(frameon=False)


def _differences(axes: Axes, comparison: Comparison) -> None:
    """Draw each arm's paired differences to the baseline, their mean and its interval."""
    rows = [row for row in comparison.rows if row.to_baseline]
    for place, row in enumerate(rows):
        pairs = row.to_baseline
        if pairs is None:
            continue
        colour = CHART_COLOURS[place % len(CHART_COLOURS)]
        axes.plot(
            pairs.differences,
            [place + 0.12] * len(pairs.differences),
            linestyle="",
            marker="o",
            color=colour,
            alpha=0.7,
        )
        axes.plot(pairs.spread.mean, place - 0.08, marker="D", color=colour, markersize=8)
        if pairs.interval:
            axes.plot(pairs.interval, [place - 0.08] * 2, color=colour, linewidth=2.5)
    axes.axvline(0, color=_GREY, linewidth=1)
    several = len(comparison.study.evaluations) > 1
    axes.set_yticks(
        range(len(rows)),
        [f"{row.arm.name} at {row.at.key}" if several else row.arm.name for row in rows],
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(
        f"{comparison.study.primary}: difference to {comparison.study.baseline}, percentage points"
    )
    axes.set_title(
        "Dots: pairs of equal seed; diamond and bar: mean and 95 % interval",
        loc="left",
        fontsize=11,
    )


def _curves(axes: Axes, comparison: Comparison) -> None:
    """Draw the validation's figure epoch by epoch: a line per run, a colour per arm."""
    key, scale, said = _CURVE[comparison.study.task]
    for index, arm in enumerate(comparison.study.arms):
        label: str | None = arm.name
        for (name, _), record in comparison.records.runs.items():
            curve = record["curve"][key]
            if name == arm.name and None not in curve:
                values = [scale * value for value in curve]
                axes.plot(
                    range(1, len(values) + 1),
                    values,
                    color=CHART_COLOURS[index % len(CHART_COLOURS)],
                    alpha=0.75,
                    label=label,
                )
                label = None
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(said)
    axes.set_title("Learning curves, one line a run", loc="left", fontsize=11)
    axes.legend(frameon=False)


def _milliseconds(axes: Axes, comparison: Comparison) -> None:
    """Draw the primary figure against the time per image: a line per arm and kind of tiles joins
    the input sizes.
    """
    study = comparison.study
    lines = [
        (arm, tile)
        for arm in study.arms
        for tile in dict.fromkeys(at.tile for at in study.evaluations)
    ]
    for arm, tile in lines:
        rows = [
            row
            for row in comparison.rows
            if row.arm == arm and row.at.tile == tile and row.spread and row.milliseconds
        ]
        rows.sort(key=lambda row: row.at.imgsz)
        points = [
            (row.milliseconds.mean, row.spread.mean)
            for row in rows
            if row.milliseconds and row.spread
        ]
        if not points:
            continue
        place = [each.name for each in study.arms].index(arm.name)
        style: dict[str, Any] = {
            "color": CHART_COLOURS[place % len(CHART_COLOURS)],
            "linestyle": "-" if tile == "off" else "--",
            "marker": "o" if tile == "off" else "s",
        }
        axes.plot(
            *zip(*points, strict=True),
            label=f"{arm.name}, {'whole images' if tile == 'off' else f'tiles {tile}'}",
            **style,
        )
        for row, point in zip(rows, points, strict=True):
            axes.annotate(
                str(row.at.imgsz),
                point,
                textcoords="offset points",
                xytext=(5, -11),
                fontsize=8,
                color=_GREY,
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds an image (logarithmic); numbers: input size in pixels")
    axes.set_ylabel(f"{study.primary}, percent")
    axes.set_title("What looking closer adds and costs", loc="left", fontsize=11)
    axes.legend(frameon=False)
