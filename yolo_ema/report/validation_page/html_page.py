"""The validation page: one HTML file that loads nothing from outside, runs no script, and reads
well on a telephone.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.constants import IGNORED
from yolo_ema.evaluate.validation import ValResult
from yolo_ema.media.sources.image_files import read_image
from yolo_ema.metrics.error_analysis import Diagnosis, ImageErrors
from yolo_ema.metrics.scorecard import Scorecard
from yolo_ema.metrics.visdrone_protocol import OfficialScores
from yolo_ema.report.validation_page import tables
from yolo_ema.report.validation_page.curves import Series, line_chart, precision_recall_chart
from yolo_ema.report.validation_page.example_images import COLOURS, draw_errors, jpeg_data_uri

__all__ = ["PICTURES", "validation_page"]

PICTURES = 8
"""Images shown: those with the most misses and false alarms."""

_PROTOCOL_NOTE = (
    "The official figures follow VisDrone2019-DET's toolkit: boxes in ignored regions are dropped, "
    "the first 500 detections of an "
    "image count, and a class weighs as much as the number of images that contain it. COCO's know "
    "no ignored regions and look at "
    "500 detections an image and class; published tables mostly use these. The two do not compare."
)
_MEASURES = ("mAP50-95", "mAP50")


def validation_page(result: ValResult, diagnosis: Diagnosis) -> str:
    """Return the page as HTML.

    Args:
        result: what `validate` returned.
        diagnosis: why the weights lose, from the same evidence.

    Raises:
        SourceError: an image that should be shown cannot be read any more.
    """
    scorecard = result.scorecard
    sections = [
        _tiles(result),
        _warnings(scorecard.warnings),
        _section(
            "Figures", f'{tables.score_table(scorecard)}<p class="soft after">{_PROTOCOL_NOTE}</p>'
        ),
        _pair(_section("AP by class", tables.class_bars(scorecard)), _sizes(scorecard)),
        _section("Classes", f"{tables.class_table(scorecard)}{_threshold_note(scorecard)}"),
        _pair(_curves(scorecard.official), _errors(diagnosis)),
        _confusion(diagnosis),
        _pictures(result, diagnosis.images),
        _record(result.run_record),
        _protocol(result),
    ]
    return _document(result, [one for one in sections if one])


def _document(result: ValResult, sections: Sequence[str]) -> str:
    about = result.scorecard.protocol
    title = Path(str(result.weights["path"])).name
    height, width = about["imgsz"]
    facts = (
        f"{about['data']} · split {about['split']} · {about['images']:,} images · input "
        f"{height}×{width} pixels (height × width)"
    )
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" '
        'href="data:,">'
        f"<title>{html.escape(title)} on "
        f"{html.escape(str(about['split']))}</title><style>{style}</style></head>\n"
        f"<body><header><h1>{html.escape(title)}</h1><p "
        f'class="soft">{html.escape(facts)}</p></header>\n'
        f"<main>{chr(10).join(sections)}</main></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _tiles(result: ValResult) -> str:
    official, coco = result.scorecard.official.official, result.scorecard.coco.summary
    speed = 1000 * sum(result.seconds_per_image.values())
    tiles = [
        ("official AP", tables.percent(official["AP"])),
        ("official AP50", tables.percent(official["AP50"])),
        ("official AR500", tables.percent(official["AR500"])),
        ("COCO AP", tables.percent(coco["AP"])),
        ("COCO AP50", tables.percent(coco["AP50"])),
        ("an image", f"{speed:.0f} ms"),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span class="soft">{n}</span><b>{v}</b></div>' for n, v in tiles
        )
        + "</div>"
    )


def _warnings(warnings: Sequence[str]) -> str:
    return (
        _section(
            "Read this first",
            f"<ul>{''.join(f'<li>{html.escape(one)}</li>' for one in warnings)}</ul>",
        )
        if warnings
        else ""
    )


def _sizes(scorecard: Scorecard) -> str:
    note = (
        "<p class=soft>Area of the box in pixels of the original image; in brackets the number "
        "of objects.</p>"
    )
    return _section(
        "COCO AP by object size",
        f"{note}{tables.size_bars(scorecard)}<br>{tables.size_table(scorecard)}",
    )


def _threshold_note(scorecard: Scorecard) -> str:
    point = scorecard.threshold_for_all
    if point is None:
        return ""
    return (
        '<p class="soft after">Best conf is the confidence threshold of the highest F1 at IoU 0.5 '
        "(official protocol), beside it "
        f"the precision and recall there. One threshold for all classes: {point.confidence:.2f}, "
        f"with a mean precision of "
        f"{tables.percent(point.precision)} and recall of {tables.percent(point.recall)}.</p>"
    )


def _curves(scores: OfficialScores) -> str:
    per_class = scores.per_class
    chart = precision_recall_chart(
        scores.class_names, scores.curves, [per_class[name]["AP50"] for name in scores.class_names]
    )
    return _section(
        "Precision over recall",
        f"<p class=soft>Official protocol at IoU 0.5; the number is AP50.</p>{chart}",
    )


def _errors(diagnosis: Diagnosis) -> str:
    note = (
        f"<p class=soft>Numbers at scores of at least {diagnosis.confidence:g}. AP50 lost is what "
        f"mending all of a kind, at every "
        "score, would gain; the sums do not add up, since mending one kind uncovers another.</p>"
    )
    return _section("Kinds of error", note + tables.error_table(diagnosis))


def _confusion(diagnosis: Diagnosis) -> str:
    note = (
        f"<p class=soft>Rows are true classes, columns what was detected, at scores of at least "
        f"{diagnosis.confidence:g} and IoU "
        "0.5. The last column are missed objects, the last row false alarms.</p>"
    )
    return _section("Confusion", note + tables.confusion_table(diagnosis))


def _pictures(result: ValResult, images: Sequence[ImageErrors]) -> str:
    worst = [one for one in images[:PICTURES] if len(one.missed) + len(one.false_alarms)]
    if not worst:
        return _section(
            "Images with the most errors", "<p>None: every object was found, and nothing else.</p>"
        )
    legend = "".join(
        f'<span class="key"><i class="box" '
        f'style="background:{colour}"></i>{html.escape(name)}</span>'
        for name, colour in COLOURS.items()
    )
    figures = "".join(_picture(result, one) for one in worst)
    return _section(
        "Images with the most misses and false alarms",
        f'<p class="soft">{legend}</p><div class="pictures">{figures}</div>',
    )


def _picture(result: ValResult, errors: ImageErrors) -> str:
    truth = result.evidence.ground_truth[errors.name]
    pixels = math.prod(
        result.evidence.sizes_wh[errors.name]
    )  # it was read for the figures, whatever the limit was
    picture = read_image(result.evidence.images[errors.name], max_pixels=pixels)
    image = draw_errors(picture, errors, truth[truth[:, 5] == IGNORED, :4])
    counts = (
        f"{len(errors.missed)} missed, {len(errors.false_alarms)} false alarms, "
        f"{len(errors.found)} found"
    )
    name = html.escape(errors.name)
    return (
        f'<figure><img alt="{name}: {counts}" width="{image.shape[1]}" height="{image.shape[0]}" '
        f'src="{jpeg_data_uri(image)}">'
        f"<figcaption>{name}<br>{counts}</figcaption></figure>"
    )


def _record(record: Mapping[str, Any] | None) -> str:
    """Return the record of the training run, with its progress where it has some."""
    if record is None:
        return ""
    facts = {
        key: record[key]
        for key in ("command", "status", "started", "ended", "commit", "seed")
        if record.get(key) is not None
    }
    chart = _progress(record.get("epochs") or [])
    whole = html.escape(json.dumps(record, indent=2, ensure_ascii=False))
    return _section(
        "The training run",
        f"{chart}{tables.facts_table(facts)}<details><summary>all of "
        f"it</summary><pre>{whole}</pre></details>",
    )


def _progress(epochs: Sequence[Mapping[str, Any]]) -> str:
    series = []
    for measure in _MEASURES:
        key = next(
            (
                key
                for key in (epochs[0] if epochs else ())
                if measure in (key, key.rpartition("/")[2].partition("(")[0])
            ),
            None,
        )
        points = [
            (one["epoch"], 100 * one[key]) for one in epochs if key and one.get(key) is not None
        ]
        if len(points) > 1:
            x, y = np.array(points, dtype=np.float64).T
            series.append(Series(f"{measure} (%)", x, y, note=f"{y[-1]:.1f}"))
    if not series:
        return ""
    first, last = float(series[0].x[0]), float(series[0].x[-1])
    top = 20 * max(1, math.ceil(max(float(one.y.max()) for one in series) / 20))
    return line_chart(
        series,
        x_label="epoch",
        y_label="validation in training (%)",
        x_range=(first, last),
        y_range=(0, top),
    )


def _protocol(result: ValResult) -> str:
    """Return how the figures came about, for whoever wants to repeat them."""
    content = {
        "protocol": result.scorecard.protocol,
        "weights": result.weights,
        "seconds_per_image": result.seconds_per_image,
    }
    text = html.escape(
        json.dumps({name: dict(one) for name, one in content.items()}, indent=2, ensure_ascii=False)
    )
    return _section(
        "How this was measured",
        f"<details><summary>protocol, settings, versions, "
        f"weights</summary><pre>{text}</pre></details>",
    )
