"""A study's figures as Markdown, and their section of a page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from yolo_ema.errors import DataError
from yolo_ema.io.atomic_files import write_text
from yolo_ema.studies.comparison import (
    EQUAL_PAIRS,
    Comparison,
    Paired,
    Row,
    Runs,
    Spread,
    timed_runs,
)
from yolo_ema.studies.conclusion import conclusion
from yolo_ema.studies.spec import Setting, Study

_NONE = "–"

_OTHERS = {
    "detect": {"AP50": "official AP50", "COCO AP": "COCO AP", "COCO small": "COCO AP small"},
    "classify": {"top-5": "top-5"},
}
"""By task, columns of further figures."""

_OPERATIONS = {"detect": ("GFLOPs", 1e9), "classify": ("MFLOPs", 1e6)}
"""By task, the unit of a network's operations for one input."""


def marks(name: str) -> tuple[str, str]:
    """Return the lines that begin and end a study's section of a page."""
    return f"<!-- study {name}: made by yolo-ema ablate -->", f"<!-- end of study {name} -->"


def renew_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between a study's marks in a page. Raises `DataError` if the page or a
    mark is missing.
    """
    begin, end = marks(name)
    content = page.read_text(encoding="utf-8") if page.is_file() else ""
    if (
        content.count(begin) != 1
        or content.count(end) != 1
        or content.index(begin) > content.index(end)
    ):
        raise DataError(
            f"{page} needs exactly one line {begin!r} and, after it, one line {end!r}: the study's "
            f"table goes between them"
        )
    before, _, rest = content.partition(begin)
    write_text(page, f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def table(comparison: Comparison) -> str:
    """Return what the records show: the table, a sentence for each arm, and what the figures rest
    on.
    """
    study = comparison.study
    source = f" Published: {study.published.source}." if study.published else ""
    if not comparison.records.runs:
        said = (
            f"No run of the study {study.name} has ended yet. Budget of a run: "
            f"{study.budget_text}; seeds {', '.join(map(str, study.seeds))}.{source}"
        )
        return "\n".join([*_without_runs(study), "", said])
    lines = [
        *_figures(comparison),
        "",
        *(f"- {sentence}" for sentence in _sentences(comparison)),
        "",
        conclusion(comparison),
        "",
        _facts(comparison) + source,
    ]
    return "\n".join(lines)


def _without_runs(study: Study) -> list[str]:
    """Return a table of the arms, with others' figures where the study has them."""
    head = ["arm", f"{study.primary} here", *_published_head(study)]
    rows = [[arm.name, "not run", *_published_cell(study, arm.name)] for arm in study.arms]
    return [_line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rows)]


def _published_head(study: Study) -> list[str]:
    return [f"published ({study.published.budget})"] if study.published else []


def _published_cell(study: Study, arm: str) -> list[str]:
    return [study.published.figures.get(arm, _NONE)] if study.published else []


def _figures(comparison: Comparison) -> list[str]:
    study = comparison.study
    several = len(study.evaluations) > 1
    head = [
        "arm",
        *(["looked at"] if several else []),
        "seeds",
        f"{study.primary}: mean ± deviation",
        "least to most",
    ]
    head += [
        f"difference to {study.baseline} [95 % interval]",
        *([f"to {study.evaluations[0].key} [95 %]"] if several else []),
    ]
    head += [*_OTHERS[study.task], "parameters", _OPERATIONS[study.task][0]]
    head += ["ms an image", *_published_head(study)]
    rows = [
        [*_cells(row, comparison), *_published_cell(study, row.arm.name)] for row in comparison.rows
    ]
    words = 2 if several else 1
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return [_line(head), _line(rule), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row, comparison: Comparison) -> list[str]:
    study = comparison.study
    several = len(study.evaluations) > 1
    cells = [row.arm.name, *([_setting(row.at)] if several else []), str(len(row.values))]
    if row.spread is None:
        empty = 6 + several + len(_OTHERS[study.task])
        return cells + [_NONE] * empty
    deviation = _NONE if row.spread.deviation is None else f"{row.spread.deviation:.2f}"
    cells += [
        f"{row.spread.mean:.2f} ± {deviation}",
        f"{row.spread.least:.2f} to {row.spread.most:.2f}",
    ]
    cells += [_difference(row.to_baseline), *([_difference(row.to_first)] if several else [])]
    cells += [_number(row.means[name]) for name in _OTHERS[study.task].values()]
    cells += _size(row, study)
    return [*cells, _milliseconds(row.milliseconds)]


def _size(row: Row, study: Study) -> list[str]:
    parameters, operations = row.size.parameters, row.size.operations
    unit = _OPERATIONS[study.task][1]
    return [
        _NONE if parameters is None else f"{parameters:,}",
        _NONE if operations is None else f"{operations / unit:.2f}",
    ]


def _milliseconds(times: Spread | None) -> str:
    if times is None:
        return _NONE
    digits = 0 if times.mean >= 10 else 2
    deviation = _NONE if times.deviation is None else f"{times.deviation:.{digits}f}"
    return f"{times.mean:.{digits}f} ± {deviation}"


def _setting(at: Setting) -> str:
    return f"{at.imgsz}" if at.tile == "off" else f"{at.imgsz}, tiles {at.tile}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}"


def _difference(pairs: Paired | None) -> str:
    if pairs is None:
        return _NONE
    return f"{pairs.spread.mean:+.2f} {_interval(pairs)}"


def _interval(pairs: Paired) -> str:
    return (
        "[one pair]"
        if pairs.interval is None
        else f"[{pairs.interval[0]:+.2f}, {pairs.interval[1]:+.2f}]"
    )


def _sentences(comparison: Comparison) -> list[str]:
    """Return what can be said of each arm against the baseline, at each setting that a pair was
    measured at.
    """
    study = comparison.study
    several = len(study.evaluations) > 1
    sentences = []
    for row in comparison.rows:
        pairs = row.to_baseline
        if row.arm.name == study.baseline or (pairs is None and row.at != study.evaluations[0]):
            continue
        about = (
            f"{row.arm.name} against {study.baseline}{f' at {_setting(row.at)}' if several else ''}"
        )
        if pairs is None:
            sentences.append(f"{about}: no pair of equal seeds has ended yet.")
        elif pairs.interval is None:
            sentences.append(
                f"{about}: {pairs.spread.mean:+.2f} in one pair, which shows nothing by itself."
            )
        else:
            sentences.append(f"{about}: {_verdict(pairs)}")
    return sentences


def _verdict(pairs: Paired) -> str:
    each = ", ".join(f"{value:+.2f}" for value in pairs.differences)
    about = (
        f"{pairs.spread.mean:+.2f} ± {pairs.spread.deviation:.2f} over {pairs.spread.count} "
        f"pairs ({each})"
    )
    if pairs.verdict == "no difference shown":
        return f"{about}: no difference shown, the 95 % interval {_interval(pairs)} holds 0."
    if pairs.verdict == EQUAL_PAIRS:
        return f"{about}: {EQUAL_PAIRS}."
    side = "above" if pairs.verdict == "higher" else "below"
    return f"{about}: {pairs.verdict}, the 95 % interval {_interval(pairs)} lies {side} 0."


def _facts(comparison: Comparison) -> str:
    """Return a sentence on what the figures rest on."""
    study, runs = comparison.study, comparison.records.runs
    timed = timed_runs(runs)
    images = next(iter(runs.values()))["data"]
    clock, seconds = (
        ("the wall clock", "wall_seconds")
        if "wall" in _clocks(runs)
        else ("processor time", "process_seconds")
    )
    hours = {
        arm.name: [timed[run]["training"][seconds] / 3600 for run in timed if run[0] == arm.name]
        for arm in study.arms
    }
    epochs = {
        arm.name: [timed[run]["training"]["epochs"] for run in timed if run[0] == arm.name]
        for arm in study.arms
    }
    took = ", ".join(
        f"{name} {statistics.fmean(values):.2f} h ({min(epochs[name])} epochs)"
        if min(epochs[name]) == max(epochs[name])
        else f"{name} {statistics.fmean(values):.2f} h ({min(epochs[name])} to {max(epochs[name])} "
        f"epochs)"
        for name, values in hours.items()
        if values
    )
    return (
        f"Percent; {len(runs)} of {len(study.arms) * len(study.seeds)} runs. Budget of a run: "
        f"{study.budget_text}. "
        f"Trained on {images['train']['images']} images, measured on the "
        f"{images[study.split]['images']} of {study.split}. "
        f"{_OPERATIONS[study.task][0]}: convolutions and matrix products for one square input, a "
        f"multiplication and an addition counting two. "
        f"A training took on average, by {clock}: {took}. ms an image: by {clock}, on the machine "
        f"of the records, with whatever "
        f"else was running there.{_untimed(runs, timed)}{_unlike(runs)}"
    )


def _clocks(runs: Runs) -> set[str]:
    return {
        evaluation["ms_per_image"]["clock"]
        for record in runs.values()
        for evaluation in record["evaluations"].values()
    }


def _unlike(runs: Runs) -> str:
    """Say by which commits the runs were trained and measured, and that versions or hardware
    differ, where they do.
    """
    trained: dict[str, dict[str, None]] = {}
    for (arm, _), record in runs.items():
        trained.setdefault(str(record["commit"])[:7], {})[arm] = None
    measured = {
        str(evaluation["commit"])[:7]
        for record in runs.values()
        for evaluation in record["evaluations"].values()
    }
    said = ""
    if len(trained) > 1:
        by = "; ".join(f"{commit} ({', '.join(arms)})" for commit, arms in trained.items())
        said += f" Trained by commits {by}."
    if len(measured) > 1:
        said += f" Measured by commits {', '.join(sorted(measured))}."
    if len({json.dumps(record["versions"], sort_keys=True) for record in runs.values()}) > 1:
        said += " The runs differ in versions; see their records."
    return said


def _untimed(runs: Runs, timed: Runs) -> str:
    """Say which runs' times are left out, since they were made on other hardware than most."""
    others = [f"{arm}, seed {seed}" for arm, seed in runs if (arm, seed) not in timed]
    if not others:
        return ""
    hardware = next(iter(timed.values()))["hardware"]
    most = ", ".join([hardware["processor"], *(gpu["name"] for gpu in hardware.get("gpus", ()))])
    return (
        f" Times are those on {most}; of the runs on other hardware ({'; '.join(others)}) they "
        f"are left out."
    )
