"""Both protocols' figures of one set of detections, and what they were computed from, as JSON and
as a table.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolo_ema._version import __version__
from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.metrics.coco_figures import COCO_MAX_DETS, CocoScores, evaluate_coco
from yolo_ema.metrics.operating_points import OperatingPoint, best_for_all, best_of_class
from yolo_ema.metrics.visdrone_protocol import (
    MAX_DETS,
    OFFICIAL_FIGURES,
    OfficialScores,
    evaluate_official,
)
from yolo_ema.text_table import text_table

_CLASS_COLUMNS = [
    *("class", "objects", "images", "AP", "AP50", "AR500", "COCO AP", "AP50", "best conf")
]


@dataclass(frozen=True)
class Scorecard:
    """The figures of both protocols in percent.

    Attributes:
        official: scores by VisDrone's protocol.
        coco: scores by COCO's.
        protocol: what was scored and how: split, sizes, limits, versions.
        warnings: what the reader must know to judge the figures.
        left_out: how many images, rows or files could not be scored, by what they are.
    """

    official: OfficialScores
    coco: CocoScores
    protocol: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def thresholds(self) -> dict[str, OperatingPoint | None]:
        """Return the confidence threshold of the best F1 for each class that occurs; None where
        nothing of it was found.
        """
        occurring = zip(
            self.official.class_names,
            self.official.curves,
            self.official.ground_truth_count,
            strict=True,
        )
        return {name: best_of_class(curve) for name, curve, count in occurring if count}

    @property
    def threshold_for_all(self) -> OperatingPoint | None:
        """Return the one threshold of the best F1, averaged over the classes that occur."""
        occurring = zip(self.official.curves, self.official.ground_truth_count, strict=True)
        return best_for_all([curve for curve, count in occurring if count])

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values; a figure that does not exist is None."""
        official, coco = self.official.per_class, self.coco.per_class
        per_class = {
            name: {
                "official": official[name],
                "coco": coco[name],
                "objects": {
                    "official": int(self.official.ground_truth_count[k]),
                    "coco": int(self.coco.ground_truth_count[0, k]),
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
            "left_out": dict(self.left_out),
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """Return the tables for a terminal."""
        official, coco = self.official.official, self.coco.summary
        protocols = {
            "VisDrone official": official,
            "  mean over classes": self.official.macro,
            "COCO, 500 detections": coco,
        }
        figures = [
            [title, *(_percent(values[name]) for name in OFFICIAL_FIGURES)]
            for title, values in protocols.items()
        ]
        sizes = (f"{size} {_percent(coco[f'AP_{size}'])}" for size in ("small", "medium", "large"))
        lines = [
            *text_table([["", *OFFICIAL_FIGURES], *figures]),
            f"COCO AP by object size: {', '.join(sizes)}",
            "",
            *text_table([_CLASS_COLUMNS, *self._class_rows()]),
        ]
        if point := self.threshold_for_all:
            note = "best conf: of the highest F1 at IoU 0.5, official protocol; one for all classes"
            lines += ["", f"{note}: {_confidence(point)}"]
        return "\n".join([*lines, "", self._footer()])

    def _class_rows(self) -> list[list[str]]:
        official, coco = self.official.per_class, self.coco.per_class
        thresholds = self.thresholds
        return [
            [
                name,
                str(int(self.official.ground_truth_count[k])),
                str(int(self.official.image_count[k])),
                *(_percent(official[name][figure]) for figure in ("AP", "AP50", "AR500")),
                *(_percent(coco[name][figure]) for figure in ("AP", "AP50")),
                _confidence(thresholds.get(name)),
            ]
            for k, name in enumerate(self.official.class_names)
        ]

    def _footer(self) -> str:
        facts = self.protocol
        counts = (
            f"{facts['images']} images, {facts['detections']} detections, at most {MAX_DETS[-1]} "
            f"per image"
        )
        lost = ", ".join(f"{count} {kind}" for kind, count in self.left_out.items() if count)
        left_out = f"; left out: {lost}, see the warnings" if lost else ""
        return f"percent; split {facts['split'] or 'not known'}, {counts}{left_out}"


def make_scorecard(
    ground_truth: Mapping[str, np.ndarray],
    detections: Mapping[str, np.ndarray],
    sizes_wh: Mapping[str, tuple[int, int]],
    *,
    class_names: Sequence[str] = VISDRONE_CLASSES,
    about: Mapping[str, Any],
    warnings: Sequence[str] = (),
    left_out: Mapping[str, int] | None = None,
) -> Scorecard:
    """Score by both protocols; the arguments are those of `evaluate_official` and of `Scorecard`,
    and ``about`` goes into ``protocol``.
    """
    official = evaluate_official(ground_truth, detections, sizes_wh, class_names=class_names)
    coco = evaluate_coco(ground_truth, detections, class_names=class_names)
    sides = np.array([sizes_wh[name] for name in ground_truth]).reshape(-1, 2)
    protocol = {
        "split": None,
        "versions": {
            "yolo-ema": __version__,
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
    return Scorecard(official, coco, protocol, tuple(warnings), left_out or {})


def some_names(names: Sequence[str], count: int) -> str:
    """Return the first names of a list for a message, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"{', '.join(names[:count])}{more}"


def _confidence(point: OperatingPoint | None) -> str:
    return "–" if point is None else f"{point.confidence:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
