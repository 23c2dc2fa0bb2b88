"""What ``val`` found: the figures, what they rest on, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.metrics.scorecard import Scorecard


@dataclass(frozen=True)
class Evidence:
    """What was scored: for each image's name its file, size in pixels, ground truth and detections.

    Rows are left, top, width, height in pixels, score, category (classes from 1), detections by
    falling score.
    """

    class_names: tuple[str, ...]
    images: Mapping[str, Path]
    sizes_wh: Mapping[str, tuple[int, int]]
    ground_truth: Mapping[str, np.ndarray]
    detections: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ValResult:
    """What ``val`` found.

    Attributes:
        scorecard: the figures of both protocols.
        weights: path, format, SHA-256 and classes of the weights.
        seconds_per_image: mean time to preprocess, infer and postprocess, not to read; the first
            batch, which warms up, is left out where there are more.
        images_at_limit: images with the most detections that count: weaker ones were cut off.
        evidence: what was scored, for the report.
        median_seconds: of all three stages, the median of the images.
        images_left_out: images that could not be scored, and why.
        run_record: the record of the run that the weights come from, where it lies next to them.
        saved_results: the folder of submission files, where they were asked for.
        report: the page, where it was asked for.
    """

    scorecard: Scorecard
    weights: Mapping[str, Any]
    seconds_per_image: Mapping[str, float]
    images_at_limit: tuple[str, ...]
    evidence: Evidence
    median_seconds: float = 0.0
    images_left_out: Mapping[Path, str] = field(default_factory=dict)
    run_record: Mapping[str, Any] | None = None
    saved_results: Path | None = None
    report: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the figures and how they came about as plain values."""
        return {
            **self.scorecard.as_json(),
            "weights": dict(self.weights),
            "seconds_per_image": dict(self.seconds_per_image),
            "median_seconds_per_image": self.median_seconds,
            "images_at_limit": list(self.images_at_limit),
            "images_left_out": [
                {"image": str(image), "reason": reason}
                for image, reason in self.images_left_out.items()
            ],
            "saved_results": str(self.saved_results) if self.saved_results else None,
            "report": str(self.report) if self.report else None,
        }

    def as_text(self) -> str:
        """Return the tables for a terminal."""
        protocol = self.scorecard.protocol
        times = ", ".join(
            f"{name} {1000 * seconds:.1f} ms" for name, seconds in self.seconds_per_image.items()
        )
        height, width = protocol["imgsz"]
        precision = self.weights["precision"]
        lines = [
            self.scorecard.as_text(),
            *_tile_line(protocol["tiles"]),
            f"input {height}x{width} pixels (height x width), {precision}; per image: {times}",
        ]
        if self.saved_results:
            lines.append(f"results: {self.saved_results}")
        if self.report:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)


def _tile_line(tiles: Mapping[str, Any] | None) -> list[str]:
    if tiles is None:
        return []
    augmented = ", each also augmented" if tiles["augmented"] else ""
    if tiles["tile"] == "off":
        return [f"whole images{augmented}"]
    larger = [
        f", {count} whole at {size}" for size, count in tiles["images_at_larger_input"].items()
    ]
    if not tiles["images_in_tiles"]:
        return [f"tiles {tiles['tile']}: no image in tiles{''.join(larger)}{augmented}"]
    frame = "and the whole frame" if tiles["whole_frame"] else "without the whole frame"
    counts = f"{tiles['tiles_an_image']:.1f} per image, {tiles['images_in_tiles']} images in tiles"
    tiling = f"{frame}, overlap {tiles['overlap']}, merged by {tiles['merge']}"
    return [f"tiles {tiles['tile']} {tiling}: {counts}{''.join(larger)}{augmented}"]
