"""The plans side by side: the whole image, at the weights' input and at larger ones, and tiles."""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from yolo_ema.engine.export import artifact_metadata
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import ConfigError
from yolo_ema.evaluate.val_result import ValResult
from yolo_ema.evaluate.validation import open_for_scoring, validate
from yolo_ema.inference.formats import format_of
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.io.atomic_files import write_bytes
from yolo_ema.io.machine import forget_peak_memory, peak_memory_bytes
from yolo_ema.io.text_files import say
from yolo_ema.options.detector import DetectorConfig
from yolo_ema.options.fields import flag_of
from yolo_ema.options.val import ValOptions
from yolo_ema.text_table import text_table
from yolo_ema.tiling.plan_figures import (
    AP_PER_DOUBLING,
    PlanFigures,
    PlanRow,
    scaled_side,
    worth_its_pixels,
)

LARGER_INPUTS = (1.5, 2.0, 2.25)
"""By the weights' own; at more, 1920x1080 would take over half the time of tiles of 640."""
_WRITABLE = ("pt", "onnx", "openvino")
_TOLD_OTHERWISE = {"weights", "conf", "iou", "imgsz", "tile", "whole_frame"}
_DETECTED_WITH = ("imgsz", "augment", "nms_groups", "conf", "max_det", "merge", "overlap")


@dataclass(frozen=True)
class ScoredPlan:
    """One plan, and what it scored.

    Attributes:
        name: as the table shows it.
        input_scale: sides of the input by those of the weights' own.
        options: the options of `validate` that stand for it; a larger input then takes smaller
            images enlarged, which ``auto``, and so the figures, leaves as they are.
        result: what that found.
        peak_memory_bytes: the most that the process, or the GPU, held meanwhile; None where the
            system does not tell it for each plan.
    """

    name: str
    input_scale: float
    options: ValOptions
    result: ValResult
    peak_memory_bytes: int | None

    @property
    def ap(self) -> float:
        """Official AP in percent; 0 where there is none."""
        return self.result.scorecard.as_json()["official"]["AP"] or 0.0

    @property
    def megapixels(self) -> float:
        """Through the network, mean of the images."""
        return float(self.result.scorecard.protocol["megapixels_per_image"])

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        scorecard = self.result.scorecard.as_json()
        return {
            "plan": self.name,
            "imgsz": list(self.options.imgsz),
            "tile": self.options.tile,
            "whole_frame": self.options.whole_frame is not False,
            "official": scorecard["official"],
            "coco": scorecard["coco"],
            "confidence": _confidence(scorecard),
            "median_ms": 1000 * self.result.median_seconds,
            "megapixels": self.megapixels,
            "peak_memory_bytes": self.peak_memory_bytes,
            "tiles": scorecard["protocol"]["tiles"],
        }

    def row(self) -> PlanRow:
        """Return what weights carry of it."""
        tiles, (height, width) = self.options.tile != "off", self.options.imgsz
        shrunk = [
            max(1.0, wh[0] / width, wh[1] / height) for wh in self.result.evidence.sizes_wh.values()
        ]
        return PlanRow(
            self.input_scale,
            tiles,
            self.options.whole_frame is not False,
            round(self.ap, 3),
            round(self.megapixels, 4),
            1.0 if tiles else round(median(shrunk), 3),
            round(_confidence(self.result.scorecard.as_json()) or 0.25, 4),
        )


@dataclass(frozen=True)
class PlanComparison:
    """The plans on one split.

    Attributes:
        plans: by rising cost in pixels.
        figures: what the weights can carry of it.
        written: the weights that carry it now; None where that was not asked for.
        detected_iou: the IoU of NMS that `detect` takes with the weights by itself.
    """

    plans: tuple[ScoredPlan, ...]
    figures: PlanFigures
    written: Path | None = None
    detected_iou: float = PredictorSettings().iou

    @property
    def best(self) -> ScoredPlan:
        """The plan to take, see `worth_its_pixels`."""
        return self.plans[worth_its_pixels([(plan.ap, plan.megapixels) for plan in self.plans])]

    @property
    def highest(self) -> ScoredPlan:
        """The plan of the highest official AP."""
        return max(self.plans, key=lambda plan: plan.ap)

    def as_json(self) -> dict[str, Any]:
        """Return the figures and how they came about as plain values."""
        first = self.plans[0].result
        return {
            "plans": [plan.as_json() for plan in self.plans],
            "best": self.best.name,
            "highest_ap": self.highest.name,
            "rule": _RULE,
            "weights": dict(first.weights),
            "images": len(first.evidence.images),
            "images_left_out": first.as_json()["images_left_out"],
            "protocol": dict(first.scorecard.protocol),
            "written": str(self.written) if self.written else None,
        }

    def as_text(self) -> str:
        """Return the table for a terminal."""
        head = ["plan", "AP", "AP50", "small", "medium", "large", "conf", "ms", "MP", "memory, MB"]
        table = text_table([head, *(_cells(plan.as_json()) for plan in self.plans)])
        best = self.best.as_json()
        lines = [
            *table,
            _LEGEND,
            f"best: {self.best.name} ({_RULE}); highest AP: {self.highest.name}",
            f"detect with it: --conf {best['confidence'] or 0.25:.2f} {self._flags()}",
        ]
        if self.best.input_scale > 1:
            lines.append(
                "(this enlarges smaller images; auto, when the weights carry it, does not)"
            )
        if self.written:
            lines.append(f"{self.written} carries these figures: detect and Detector follow them")
        return "\n".join(lines)

    def _flags(self) -> str:
        options = self.best.options
        size = ",".join(map(str, dict.fromkeys(options.imgsz)))
        alone = " --no-whole-frame" if options.whole_frame is False else ""
        measured_with = "".join(f" {flag}" for flag in self._measured_with())
        return f"--imgsz {size} --tile {options.tile}{alone}{measured_with}"

    def _measured_with(self) -> Iterator[str]:
        """Yield the flags without which `detect` would do otherwise than was measured. How many
        objects it keeps is left to it, unless ``val`` was asked for another number than the
        protocols'.
        """
        options = self.best.options
        if options.iou != self.detected_iou:
            yield f"--iou {options.iou:g}"
        shared = {field.name for field in fields(DetectorConfig)} - _TOLD_OTHERWISE
        for field in fields(options):
            value, flag = getattr(options, field.name), flag_of(field.name)
            if field.name not in shared or value == field.default:
                continue
            if isinstance(value, bool):
                yield flag if value else flag.replace("--", "--no-", 1)
            else:
                values = value if isinstance(value, tuple) else (value,)
                yield from (f"{flag} {shlex.quote(str(one))}" for one in values)


_LEGEND = (
    "AP, AP50: official, percent; small, medium, large: COCO's AP; conf: of the best F1; ms: "
    "median per image; MP: megapixels through the network"
)
_RULE = f"twice the pixels through the network must bring {AP_PER_DOUBLING:g} point of official AP"


def compare_plans(options: ValOptions) -> PlanComparison:
    """Score the plans on one split: whole images at the weights' input, at inputs of up to
    `LARGER_INPUTS` times its sides, and in tiles of the input, alone and with the whole image.

    A larger input is measured as ``auto`` takes it: no larger than the image. A file with a fixed
    input has none. Figures that the weights carry already have no part in it. Plans are run by
    rising input, each with weights that are reopened, so that its memory can be told.

    ``options.plans`` is set; with ``write`` the weights carry the figures afterwards.

    Raises:
        ConfigError: ``write``, and the format holds no figures, or they would be those of another
            input than the weights' own.
        What `validate` raises.
    """
    if options.write:
        _check_writable(options)
    predictor = open_for_scoring(replace(options, plans=False, write=False, tile="off"))
    own_hw, fixed = predictor.imgsz_hw, predictor.size_fixed_by == "file"
    stride, carried = predictor.stride, predictor.plan_figures
    del predictor
    scored = []
    for name, scale, tile, whole_frame in _plans(own_hw, stride, fixed=fixed):
        height, width = _scaled(own_hw, scale, stride)
        of_plan = replace(
            options,
            plans=False,
            write=False,
            imgsz=(height, width),
            tile=tile,
            whole_frame=whole_frame,
        )
        scored.append(_scored(name, scale, of_plan, own_hw))
    scored.sort(key=lambda plan: plan.megapixels)
    figures = PlanFigures(tuple(plan.row() for plan in scored), options.iou)
    if options.write:
        _write(options.weights, figures, trust=options.trust)
    carried = figures if options.write else carried
    return PlanComparison(
        tuple(scored),
        figures,
        options.weights if options.write else None,
        carried.iou if carried else PredictorSettings().iou,
    )


def _scored(name: str, scale: float, options: ValOptions, own_hw: tuple[int, int]) -> ScoredPlan:
    """Score one plan, whatever figures the weights carry."""
    say(f"yolo-ema: {name}")
    reset = forget_peak_memory()
    on_gpu = torch.cuda.is_available() and options.device not in {"cpu", "mps"}
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    run = replace(options, imgsz=own_hw, tile="auto") if scale > 1 else options
    predictor = open_for_scoring(run)
    predictor.plan_figures = None  # else those of an earlier comparison would decide on tiles
    if scale > 1:
        alone = PlanRow(scale, False, True, 0, 1, shrinking=math.inf, conf=0)
        predictor.plan_figures, predictor.size_fixed_by = PlanFigures((alone,), 0), ""
    result = validate(run, predictor=predictor)
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory_bytes()
    return ScoredPlan(name, scale, options, result, peak if on_gpu or reset else None)


def _check_writable(options: ValOptions) -> None:
    """Raise `ConfigError` where weights cannot carry the figures, or would say with them what was
    not measured: ``auto`` multiplies the weights' own input, runs every image once, and merges by
    default.
    """
    if format_of(options.weights) not in _WRITABLE:
        raise ConfigError(
            f"{options.weights} cannot carry figures; expected one of {', '.join(_WRITABLE)}: "
            f"write them into the .pt and export it again"
        )
    defaults = ValOptions(weights=options.weights)
    given = [name for name in _DETECTED_WITH if getattr(options, name) != getattr(defaults, name)]
    if given:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(
            f"--write is given with {named}; detect would take the figures for those of its "
            f"defaults, at the weights' own input: expected --plans --write without"
        )


def _plans(
    own_hw: tuple[int, int], stride: int, *, fixed: bool
) -> list[tuple[str, float, str, bool | None]]:
    """Return name, scale of the input, tiles, and whether the whole image runs beside them."""
    scales = (1.0,) if fixed else (1.0, *LARGER_INPUTS)
    whole: list[tuple[str, float, str, bool | None]] = [
        (
            f"whole at {'up to ' * (scale > 1)}{_shown(_scaled(own_hw, scale, stride))}",
            scale,
            "off",
            None,
        )
        for scale in scales
    ]
    size = _shown(own_hw)
    return [
        *whole,
        (f"tiles of {size}", 1.0, "auto", False),
        (f"tiles of {size} and whole", 1.0, "auto", True),
    ]


def _scaled(own_hw: tuple[int, int], scale: float, stride: int) -> tuple[int, int]:
    height, width = (scaled_side(side, scale, stride) for side in own_hw)
    return height, width


def _shown(input_hw: tuple[int, int]) -> str:
    return f"{input_hw[1]}x{input_hw[0]}"


def _confidence(scorecard: Mapping[str, Any]) -> float | None:
    point = scorecard["thresholds"]["all"]
    return None if point is None else float(point["confidence"])


def _cells(plan: Mapping[str, Any]) -> Sequence[str]:
    official, coco, memory = plan["official"], plan["coco"], plan["peak_memory_bytes"]
    figures = [official["AP"], official["AP50"]]
    figures += [coco[f"AP_{size}"] for size in ("small", "medium", "large")]
    return [
        plan["plan"],
        *("–" if value is None else f"{value:.2f}" for value in figures),
        "–" if plan["confidence"] is None else f"{plan['confidence']:.2f}",
        f"{plan['median_ms']:.0f}",
        f"{plan['megapixels']:.2f}",
        "–" if memory is None else f"{memory / 1e6:.0f}",
    ]


def _write(weights: Path, figures: PlanFigures, *, trust: bool) -> None:
    """Let weights carry figures, in place of those that they carried.

    Raises:
        DiskFullError: there is no room; the file is as it was.
    """
    if format_of(weights) != "pt":
        artifact_metadata.write(weights, format_of(weights), figures.as_entries())
        return
    content = load_checkpoint(weights, trust=trust) | figures.as_entries()
    written = io.BytesIO()  # without a name in it, as `release_weights` writes
    torch.save(content, written)
    write_bytes(weights, written.getvalue())
