"""Tables and bars of the page, as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from yolo_ema.metrics.error_analysis import ERROR_KINDS, Diagnosis
from yolo_ema.metrics.scorecard import Scorecard

__all__ = [
    "class_bars",
    "class_table",
    "confusion_table",
    "error_table",
    "facts_table",
    "percent",
    "score_table",
    "size_bars",
    "size_table",
    "table",
]

_FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500")


def percent(value: float | None) -> str:
    """Return a figure with one decimal, or a dash where it does not exist."""
    return "–" if value is None else f"{value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that scrolls sideways where it is too wide. Cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def score_table(scorecard: Scorecard) -> str:
    """Return the summary of both protocols."""
    rows = (
        ("VisDrone official", scorecard.official.official),
        ("official, plain mean", scorecard.official.macro),
        ("COCO, 500 detections", scorecard.coco.summary),
    )
    return table(
        ("", *_FIGURES),
        [(name, *(percent(values[figure]) for figure in _FIGURES)) for name, values in rows],
    )


def class_table(scorecard: Scorecard) -> str:
    """Return each class's figures by both protocols."""
    official, coco, thresholds = (
        scorecard.official.per_class,
        scorecard.coco.per_class,
        scorecard.thresholds,
    )
    rows = []
    for k, name in enumerate(scorecard.official.class_names):
        figures = [official[name][figure] for figure in ("AP", "AP50", "AP75", "AR500")]
        figures += [coco[name][figure] for figure in ("AP", "AP50")]
        counts = (
            f"{int(scorecard.official.truth_count[k]):,}",
            f"{int(scorecard.official.image_count[k]):,}",
        )
        point = thresholds.get(name)
        best = (
            (f"{point.confidence:.2f}", percent(point.precision), percent(point.recall))
            if point
            else ("–", "–", "–")
        )
        rows.append((html.escape(name), *counts, *map(percent, figures), *best))
    head = (
        "class",
        "objects",
        "images",
        "AP",
        "AP50",
        "AP75",
        "AR500",
        "COCO AP",
        "AP50",
        "best conf",
        "precision",
        "recall",
    )
    return table(head, rows)


def class_bars(scorecard: Scorecard) -> str:
    """Return bars of AP by class, official and COCO, the best class first."""
    official, coco = scorecard.official.per_class, scorecard.coco.per_class
    bars = [
        (name, (official[name]["AP"], coco[name]["AP"])) for name in scorecard.official.class_names
    ]
    bars.sort(key=lambda bar: -(bar[1][0] or 0.0))
    legend = (
        '<p class="soft"><span class="key"><i class="box" '
        'style="background:var(--accent)"></i>official AP</span>'
        '<span class="key"><i class="box" style="background:var(--second)"></i>COCO AP</span></p>'
    )
    return legend + _bars(bars)


def size_bars(scorecard: Scorecard) -> str:
    """Return bars of COCO AP by object size."""
    summary, counts = scorecard.coco.summary, scorecard.coco.truth_count.sum(axis=1)
    names = ("all", "small, below 32²", "medium, to 96²", "large, above 96²")
    keys = ("AP", "AP_small", "AP_medium", "AP_large")
    return _bars(
        [
            (f"{name} ({int(n):,})", (summary[key],))
            for name, key, n in zip(names, keys, counts, strict=True)
        ]
    )


def size_table(scorecard: Scorecard) -> str:
    """Return each class's COCO AP by object size."""
    per_class = scorecard.coco.per_class
    rows = [
        (
            html.escape(name),
            *(percent(per_class[name][f"AP_{size}"]) for size in ("small", "medium", "large")),
        )
        for name in per_class
    ]
    return table(("class", "small", "medium", "large"), rows)


def _bars(bars: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    rows, longest = (
        [],
        max((value or 0.0 for _, values in bars for value in values), default=0.0) or 1.0,
    )
    for name, values in bars:
        tracks = "".join(
            f"<i{' class=second' if place else ''} "
            f'style="width:{100 * (value or 0) / longest:.2f}%"></i>'
            for place, value in enumerate(values)
        )
        shown = " / ".join(map(percent, values))
        rows.append(
            f'<span>{html.escape(name)}</span><span class="track">{tracks}</span><span '
            f'class="value">{shown}</span>'
        )
    return f'<div class="bars">{"".join(rows)}</div>'


def confusion_table(diagnosis: Diagnosis) -> str:
    """Return the confusion matrix: counts, shaded by their share of the true class's objects."""
    names = (*diagnosis.class_names, "nothing")
    head = "".join(f"<th><span>{html.escape(name)}</span></th>" for name in names)
    rows = []
    for r, name in enumerate(names):
        shares = diagnosis.confusion[r] / max(int(diagnosis.confusion[r].sum()), 1)
        counts = enumerate(diagnosis.confusion[r].tolist())
        cells = [_confusion_cell(count, float(shares[c]), right=r == c) for c, count in counts]
        if name == "nothing":
            cells[-1] = "<td></td>"
        rows.append(f"<tr><th>{html.escape(name)}</th>{''.join(cells)}</tr>")
    top = f"<thead><tr><th></th>{head}</tr></thead>"
    return (
        f'<div class="wide"><table '
        f'class="confusion">{top}<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _confusion_cell(count: int, share: float, *, right: bool) -> str:
    mark = ' class="right"' if right else ""
    shade = f' style="background:rgba(var(--heat),{0.75 * share:.3f})"' if count else ""
    return f'<td{mark}{shade} title="{100 * share:.1f} %">{count or "·"}</td>'


def error_table(diagnosis: Diagnosis) -> str:
    """Return the kinds of error: how many, and the AP50 that each costs."""
    rows = [
        (
            f'<td class="words"><b>{html.escape(one.name)}</b><br>{html.escape(ERROR_KINDS[one.name])}</td>',
            f"{one.count:,}",
            f"{one.ap50_lost:.1f}",
        )
        for one in diagnosis.errors
    ]
    return table(("kind", "number", "AP50 lost"), rows)


def facts_table(facts: Mapping[str, object]) -> str:
    """Return names and values, escaped."""
    rows = [
        (html.escape(str(name)), f'<td class="words">{html.escape(str(value))}</td>')
        for name, value in facts.items()
    ]
    return table(("", ""), rows)
