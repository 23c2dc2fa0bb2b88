"""Plots of a dataset: boxes per class, box sizes in training, objects per image, positions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from yolo_ema.constants import CHART_COLOURS
from yolo_ema.io.atomic_files import atomic_path
from yolo_ema.report.inspect.dataset_scan import SplitScan, percent_below

SIZE_EDGES_PX = (8, 16, 32)

_GREY = "#555555"
_MAX_CLASSES = 30
_GRID = 32


def draw_plots(
    scans: Sequence[SplitScan], names: Sequence[str], imgsz: int, folder: Path
) -> list[Path]:
    """Write the four plots as PNG files into ``folder`` and return their paths.

    Raises:
        DiskFullError: the disk is full.
    """
    plots: dict[str, tuple[tuple[float, float], Callable[[Axes], None]]] = {
        "boxes-per-class": ((9, 5.5), lambda axes: _boxes_per_class(axes, scans, names)),
        "box-sizes": ((9, 5), lambda axes: _box_sizes(axes, scans, imgsz)),
        "objects-per-image": ((9, 5), lambda axes: _objects_per_image(axes, scans)),
    }
    return [
        *(_save(folder / f"{name}.png", size, draw) for name, (size, draw) in plots.items()),
        _positions(folder / "positions.png", scans),
    ]


def _save(path: Path, size_inches: tuple[float, float], draw: Callable[[Axes], None]) -> Path:
    figure = Figure(figsize=size_inches, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_GREY)
    draw(axes)
    return _write(figure, path)


def _write(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temp, warnings.catch_warnings():
        # Scripts that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(temp, metadata={"Software": None})
    return path


def _boxes_per_class(axes: Axes, scans: Sequence[SplitScan], names: Sequence[str]) -> None:
    counts = np.array([np.bincount(scan.classes, minlength=len(names)) for scan in scans])
    order = np.argsort(-counts.sum(axis=0), kind="stable")[:_MAX_CLASSES]
    height = 0.8 / len(scans)
    for index, scan in enumerate(scans):
        places = np.arange(len(order)) + (index - (len(scans) - 1) / 2) * height
        bars = axes.barh(
            places,
            counts[index, order],
            height * 0.92,
            color=CHART_COLOURS[index % len(CHART_COLOURS)],
            label=scan.split,
        )
        axes.bar_label(
            bars,
            labels=[f"{number:,}" for number in counts[index, order]],
            padding=3,
            fontsize=8,
            color=_GREY,
        )
    # A class named "$\frac{$" would otherwise be parsed as a formula, and end the plots.
    labels = [names[index] for index in order]
    axes.set_yticks(np.arange(len(order)), labels, parse_math=False)
    axes.tick_params(axis="y", length=0, labelcolor="black")
    axes.invert_yaxis()
    axes.set_xlabel("boxes")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.margins(x=0.1)
    rest = f" (the {len(order)} most common of {len(names)})" if len(order) < len(names) else ""
    axes.set_title(f"Boxes per class{rest}", loc="left")
    axes.legend(frameon=False, loc="lower right")


def _box_sizes(axes: Axes, scans: Sequence[SplitScan], imgsz: int) -> None:
    sizes = [np.maximum(scan.training_sizes_px(imgsz), 1e-3) for scan in scans]
    largest = max(
        (float(split_sizes.max()) for split_sizes in sizes if len(split_sizes)),
        default=float(imgsz),
    )
    edges = np.geomspace(1, max(largest * 1.01, 64), 49).tolist()
    for index, (scan, split_sizes) in enumerate(zip(scans, sizes, strict=True)):
        if not len(split_sizes):
            continue
        shares = ", ".join(
            f"{percent_below(split_sizes, edge):.0f} % < {edge}" for edge in SIZE_EDGES_PX
        )
        weights = np.full(len(split_sizes), 100 / len(split_sizes))
        colour = CHART_COLOURS[index % len(CHART_COLOURS)]
        axes.hist(
            np.maximum(split_sizes, 1),
            edges,
            weights=weights,
            histtype="step",
            color=colour,
            linewidth=1.8,
            label=f"{scan.split}: {shares} px",
        )
    for edge in SIZE_EDGES_PX:
        axes.axvline(edge, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(f"size in pixels at {imgsz}, square root of the area (at most 1 counts as 1)")
    axes.set_ylabel("share of boxes (%)")
    axes.set_title(f"Box sizes with the longer side of the image at {imgsz} px", loc="left")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Name the splits, unless none of them has anything to draw."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="upper right")


def _objects_per_image(axes: Axes, scans: Sequence[SplitScan]) -> None:
    most = max((int(scan.objects_per_image.max(initial=0)) for scan in scans), default=0)
    edges = np.linspace(0, max(most, 10) + 1, 41).tolist()
    for index, scan in enumerate(scans):
        counts = scan.objects_per_image
        if not len(counts):
            continue
        label = f"{scan.split}: median {np.median(counts):g}, most {counts.max()}"
        weights = np.full(len(counts), 100 / len(counts))
        axes.hist(
            counts,
            edges,
            weights=weights,
            histtype="step",
            color=CHART_COLOURS[index % len(CHART_COLOURS)],
            linewidth=1.8,
            label=label,
        )
    axes.set_xlabel("objects in an image")
    axes.set_ylabel("share of images (%)")
    axes.set_title("Objects per image", loc="left")
    _legend(axes)


def _positions(path: Path, scans: Sequence[SplitScan]) -> Path:
    """Draw where boxes have their centres: a map per split, images stretched to the same frame."""
    figure = Figure(figsize=(1.2 + 4.4 * len(scans), 2.9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, scan in zip(figure.subplots(1, len(scans), squeeze=False)[0], scans, strict=True):
        centres = scan.boxes_xyxy.reshape(-1, 2, 2).mean(axis=1) / scan.sizes_wh[scan.image_of]
        grid, _, _ = np.histogram2d(
            centres[:, 1], centres[:, 0], bins=_GRID, range=((0, 1), (0, 1))
        )
        shown = axes.imshow(
            grid * _GRID**2 / max(1, len(centres)),
            cmap="cividis",
            extent=(0, 100, 100, 0),
            aspect=9 / 16,
        )
        axes.set_title(f"{scan.split}: {len(centres):,} centres", loc="left")
        axes.set_xlabel("from the left (%)")
        axes.set_ylabel("from the top (%)")
        figure.colorbar(shown, ax=axes, label="times the mean density", shrink=0.9)
    return _write(figure, path)
