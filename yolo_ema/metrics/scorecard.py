"""Both protocols' figures of one set of detections, and what they were computed from, as JSON and
as a table.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import yolo_ema
from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.metrics.coco_figures import COCO_MAX_DETS, CocoScores, evaluate_coco
from yolo_ema.metrics.operating_points import OperatingPoint, best_for_all, best_of_class
from yolo_ema.metrics.visdrone_protocol import MAX_DETS, OfficialScores, evaluate_official

__all__ = ["Scorecard", "make_scorecard"]


@dataclass(frozen=True)
class Scorecard:
    """The figures of both protocols in percent.

    Attributes:
        official: scores by VisDrone's protocol.
        coco: scores by COCO's.
        protocol: what was scored and how: split, sizes, limits, versions.
        warnings: what the reader must know beside the figures.
    """

    official: OfficialScores
    coco: CocoScores
    protocol: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())

    @property
    def thresholds(self) -> dict[str, OperatingPoint | None]:
        """Return the confidence threshold of the best F1 for each class that occurs; None where
        nothing of it was found.
        """
        occurring = zip(
            self.official.class_names, self.official.curves, self.official.truth_count, strict=True
        )
        return {name: best_of_class(curve) for name, curve, count in occurring if count}

    @property
    def threshold_for_all(self) -> OperatingPoint | None:
        """Return the one threshold of the best F1, averaged over the classes that occur."""
        occurring = zip(self.official.curves, self.official.truth_count, strict=True)
        return best_for_all([curve for curve, count in occurring if count])

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values; a figure that does not exist is None."""
        official, coco = self.official.per_class, self.coco.per_class
        per_class = {
            name: {
                "official": official[name],
                "coco": coco[name],
                "objects": {
                    "official": int(self.official.truth_count[k]),
                    "coco": int(self.coco.truth_count[0, k]),
                },
                "images": int(self.official.image_count[k]),
            }
            for k, name in enumerate(self.official.class_names)
        }
        return {
            "official": self.official.official,
            "official_macro": self.official.macro,
            "coco": self.coco.summary,
            "per_class": per_class,
            "thresholds": {
                "all": point.as_json() if (point := self.threshold_for_all) else None,
                "per_class": {
                    name: point.as_json() if point else None
                    for name, point in self.thresholds.items()
                },
            },
            "protocol": dict(self.protocol),
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """Return the tables for a terminal."""
        official, macro, coco = self.official.official, self.official.macro, self.coco.summary
        figures = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500")
        lines = [f"{'':24}" + "".join(f"{name:>8}" for name in figures)]
        for title, values in (
            ("VisDrone official", official),
            ("  mean over classes", macro),
            ("COCO, 500 detections", coco),
        ):
            lines.append(
                f"{title:24}" + "".join(f"{_percent(values[name]):>8}" for name in figures)
            )
        sizes = (f"{size} {_percent(coco[f'AP_{size}'])}" for size in ("small", "medium", "large"))
        lines += [f"COCO AP by object size: {', '.join(sizes)}", ""]
        lines.append(
            f"{'class':20}{'objects':>8}{'images':>8}{'AP':>8}{'AP50':>8}{'AR500':>8}{'COCO AP':>9}{'AP50':>8}{'best conf':>11}"
        )
        per_official, per_coco, thresholds = (
            self.official.per_class,
            self.coco.per_class,
            self.thresholds,
        )
        for k, name in enumerate(self.official.class_names):
            cells = [per_official[name][figure] for figure in ("AP", "AP50", "AR500")]
            counts = f"{name:20}{int(self.official.truth_count[k]):8d}{int(self.official.image_count[k]):8d}"
            lines.append(
                counts
                + "".join(f"{_percent(cell):>8}" for cell in cells)
                + f"{_percent(per_coco[name]['AP']):>9}{_percent(per_coco[name]['AP50']):>8}{_confidence(thresholds.get(name)):>11}"
            )
        if point := self.threshold_for_all:
            lines += [
                "",
                (
                    f"best conf: of the highest F1 at IoU 0.5, official protocol; one for all "
                    f"classes: "
                    f"{_confidence(point)}"
                ),
            ]
        return "\n".join([*lines, "", self._footer()])

    def _footer(self) -> str:
        about = self.protocol
        counts = (
            f"{about['images']} images, {about['detections']} detections, at most "
            f"{MAX_DETS[-1]} an image"
        )
        return f"percent; split {about['split'] or 'not known'}, {counts}"


def make_scorecard(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    sizes_wh: Mapping[str, tuple[int, int]],
    *,
    class_names: Sequence[str] = VISDRONE_CLASSES,
    about: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> Scorecard:
    """Score by both protocols; the arguments are those of `evaluate_official`, and ``about`` goes
    into ``protocol``.
    """
    official = evaluate_official(ground_truth, detections, sizes_wh, class_names=class_names)
    coco = evaluate_coco(ground_truth, detections, class_names=class_names)
    sides = np.array([sizes_wh[name] for name in ground_truth]).reshape(-1, 2)
    protocol = {
        "split": None,
        "versions": {
            "yolo-ema": yolo_ema.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        **about,
        "images": len(ground_truth),
        "detections": int(sum(len(rows) for rows in detections.values())),
        "image_width_px": [int(side) for side in (sides[:, 0].min(), sides[:, 0].max())]
        if len(sides)
        else None,
        "image_height_px": [int(side) for side in (sides[:, 1].min(), sides[:, 1].max())]
        if len(sides)
        else None,
        "official": {
            "max_dets": list(MAX_DETS),
            "iou": [0.5, 0.95, 0.05],
            "ignored_regions": True,
            "mean": "by images with the class",
        },
        "coco": {
            "max_dets": list(COCO_MAX_DETS),
            "iou": [0.5, 0.95, 0.05],
            "ignored_regions": False,
            "mean": "over classes",
        },
    }
    return Scorecard(official, coco, protocol, tuple(warnings))


def _confidence(point: OperatingPoint | None) -> str:
    return "–" if point is None else f"{point.confidence:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
