"""The ``val`` verb and its page: one HTML file, nothing from outside, no script, for phones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from yolo_ema.constants import IGNORED
from yolo_ema.evaluate.plan_comparison import PlanComparison, compare_plans
from yolo_ema.evaluate.val_result import ValResult
from yolo_ema.evaluate.validation import validate
from yolo_ema.io.atomic_files import write_text
from yolo_ema.io.resources import page_template
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.metrics.error_analysis import ERROR_KINDS, Diagnosis, ImageErrors, diagnose
from yolo_ema.metrics.scorecard import Scorecard
from yolo_ema.options.val import ValOptions
from yolo_ema.report.validation_page.example_images import COLOURS, draw_errors, jpeg_data_uri
from yolo_ema.report.validation_page.line_chart import (
    Chart,
    Series,
    line_chart,
    precision_recall_chart,
)

REPORT_NAME = "report.html"

MOST_EXAMPLES = 8
"""Images shown: those with the most misses and false alarms."""

_HERE = Path(__file__).parent
_FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500")
_PROGRESS = ("mAP50-95", "mAP50")


def val(options: ValOptions) -> ValResult | PlanComparison:
    """Do what the ``val`` verb does: `validate_and_report`, or `compare_plans` where plans are
    asked for. Raises what these raise.
    """
    return compare_plans(options) if options.plans else validate_and_report(options)


def validate_and_report(options: ValOptions) -> ValResult:
    """Score weights on a dataset's split, and write ``report.html`` into ``options.report`` if that
    is given.

    Raises:
        What `yolo_ema.evaluate.validation.validate` raises, and `DiskFullError` where the page does
        not fit.
    """
    result = validate(options)
    if options.report is None:
        return result
    evidence = result.evidence
    diagnosis = diagnose(
        evidence.ground_truth,
        evidence.detections,
        evidence.sizes_wh,
        class_names=evidence.class_names,
    )
    page = options.report / REPORT_NAME
    write_text(page, validation_page(result, diagnosis))
    return dataclasses.replace(result, report=page)


def validation_page(result: ValResult, diagnosis: Diagnosis) -> str:
    """Return the page as HTML.

    Raises:
        SourceError: an image that should be shown can no longer be read.
    """
    template = page_template(
        _HERE / "report.html.jinja",
        percent=_percent,
        json=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )
    scorecard, record = result.scorecard, result.run_record
    official = scorecard.official
    names = official.class_names
    return template.render(
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        title=Path(str(result.weights["path"])).name,
        protocol=scorecard.protocol,
        tiles=_tiles(result),
        warnings=scorecard.warnings,
        scores=_scores(scorecard),
        class_bars=_class_bars(scorecard),
        size_bars=_size_bars(scorecard),
        sizes=_sizes(scorecard),
        classes=list(_classes(scorecard)),
        threshold=scorecard.threshold_for_all,
        precision_recall=precision_recall_chart(
            names, official.curves, [official.per_class[name]["AP50"] for name in names]
        ),
        diagnosis=diagnosis,
        error_kinds=ERROR_KINDS,
        confusion=list(zip((*names, "nothing"), diagnosis.confusion.tolist(), strict=True)),
        colours=COLOURS,
        examples=list(_examples(result, diagnosis.images)),
        run_record=record,
        progress=_progress((record or {}).get("epochs") or []),
        measured={
            "protocol": dict(scorecard.protocol),
            "weights": dict(result.weights),
            "seconds_per_image": dict(result.seconds_per_image),
        },
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _tiles(result: ValResult) -> list[tuple[str, str]]:
    official, coco = result.scorecard.official.official, result.scorecard.coco.summary
    return [
        *((f"official {name}", _percent(official[name])) for name in ("AP", "AP50", "AR500")),
        *((f"COCO {name}", _percent(coco[name])) for name in ("AP", "AP50")),
        ("per image", f"{1000 * sum(result.seconds_per_image.values()):.0f} ms"),
    ]


def _scores(scorecard: Scorecard) -> list[tuple[str, ...]]:
    """Return the head and the rows of both protocols' summary."""
    rows = (
        ("VisDrone official", scorecard.official.official),
        ("official, plain mean", scorecard.official.macro),
        ("COCO, 500 detections", scorecard.coco.summary),
    )
    return [
        ("", *_FIGURES),
        *((name, *(_percent(values[figure]) for figure in _FIGURES)) for name, values in rows),
    ]


def _class_bars(scorecard: Scorecard) -> list[tuple[str, list[float | None]]]:
    """Return official and COCO AP by class, the best class first."""
    official, coco = scorecard.official.per_class, scorecard.coco.per_class
    bars = [
        (name, [official[name]["AP"], coco[name]["AP"]]) for name in scorecard.official.class_names
    ]
    return sorted(bars, key=lambda bar: -(bar[1][0] or 0.0))


def _size_bars(scorecard: Scorecard) -> list[tuple[str, list[float | None]]]:
    summary, counts = scorecard.coco.summary, scorecard.coco.ground_truth_count.sum(axis=1)
    keys = {
        "all": "AP",
        "small, below 32²": "AP_small",
        "medium, to 96²": "AP_medium",
        "large, above 96²": "AP_large",
    }
    return [
        (f"{name} ({int(count):,})", [summary[key]])
        for (name, key), count in zip(keys.items(), counts, strict=True)
    ]


def _sizes(scorecard: Scorecard) -> list[tuple[str, ...]]:
    return [
        (name, *(_percent(figures[f"AP_{size}"]) for size in ("small", "medium", "large")))
        for name, figures in scorecard.coco.per_class.items()
    ]


def _classes(scorecard: Scorecard) -> Iterator[tuple[str, ...]]:
    """Yield each class's figures by both protocols, and its best threshold."""
    thresholds = scorecard.thresholds
    for k, name in enumerate(scorecard.official.class_names):
        official, coco = scorecard.official.per_class[name], scorecard.coco.per_class[name]
        point = thresholds.get(name)
        yield (
            name,
            f"{int(scorecard.official.ground_truth_count[k]):,}",
            f"{int(scorecard.official.image_count[k]):,}",
            *(_percent(official[figure]) for figure in ("AP", "AP50", "AP75", "AR500")),
            *(_percent(coco[figure]) for figure in ("AP", "AP50")),
            f"{point.confidence:.2f}" if point else "–",
            _percent(point.precision if point else None),
            _percent(point.recall if point else None),
        )


def _examples(
    result: ValResult, images: Sequence[ImageErrors]
) -> Iterator[tuple[ImageErrors, tuple[int, int], str]]:
    """Yield the worst images: their errors, and size and address of the drawing."""
    evidence = result.evidence
    for errors in images[:MOST_EXAMPLES]:
        if len(errors.missed) + len(errors.false_alarms):
            truth = evidence.ground_truth[errors.name]
            # It was read for the figures, whatever the limit was.
            pixels = math.prod(evidence.sizes_wh[errors.name])
            image = read_image(evidence.images[errors.name], max_pixels=pixels)
            drawn = draw_errors(image, errors, truth[truth[:, 5] == IGNORED, :4])
            yield errors, (drawn.shape[1], drawn.shape[0]), jpeg_data_uri(drawn)


def _progress(epochs: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Return the validation figures during training; None without two epochs that have them."""
    # Ultralytics writes metrics/mAP50(B).
    plain = [
        {key.rpartition("/")[2].partition("(")[0]: value for key, value in epoch.items()}
        for epoch in epochs
    ]
    series = []
    for measure in _PROGRESS:
        points = [
            (epoch["epoch"], 100 * epoch[measure])
            for epoch in plain
            if epoch.get(measure) is not None
        ]
        if len(points) > 1:
            x, y = np.array(points, dtype=np.float64).T
            series.append(Series(f"{measure} (%)", x, y, note=f"{y[-1]:.1f}"))
    if not series:
        return None
    return line_chart(
        series,
        x_label="epoch",
        y_label="validation in training (%)",
        x_range=(float(series[0].x[0]), float(series[0].x[-1])),
        y_range=(0, 20 * max(1, math.ceil(max(float(curve.y.max()) for curve in series) / 20))),
    )
