"""What ``bench`` found, as a table and as JSON, and which runtime that recommends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_ema.deploy.bench.row import BenchRow
from yolo_ema.errors import MachineError
from yolo_ema.text_table import text_table

_HEAD = (
    "runtime",
    "precision",
    "device",
    "threads",
    "input",
    "ms",
    "p95",
    "network",
    "× .pt",
    "images/s",
    "CPU ms",
    "peak MB",
    "model MB",
    "disk MB",
    "boxes",
    "unmatched",
    "px",
    "score",
)
_LEFT = 3
_BUSY = 1.0
"""Load, beyond that of the measurement itself, above which times are said to be disturbed."""

_ALIKE = 0.05
"""Runtimes whose medians differ by at most this share count as equally fast."""


@dataclass(frozen=True)
class BenchResult:
    """The runtimes of one machine, compared.

    Attributes:
        weights: the .pt that they are compared with.
        rows: one per runtime, the .pt first.
        about: ``images``, ``image_sizes_wh``, ``rounds``, ``hardware``, ``versions``,
            ``load_average`` (before, after), ….
    """

    weights: Path
    rows: tuple[BenchRow, ...]
    about: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """0 unless nothing ran."""
        return 0 if any(row.ran for row in self.rows) else MachineError.exit_code

    def as_json(self) -> dict[str, Any]:
        """Return all figures as plain values: times in seconds, memory and sizes in bytes, boxes in
        pixels.
        """
        rows = [row.as_json() for row in self.rows]
        return {
            "weights": str(self.weights),
            **self.about,
            "rows": rows,
            "recommendation": advice(self.rows),
        }

    def as_text(self) -> str:
        """Return the table, what did not run and why, the circumstances, and the
        recommendation.
        """
        ran = [row for row in self.rows if row.ran]
        lines = text_table([_HEAD, *map(_cells, ran)], left=_LEFT) if ran else []
        lines += [f"{row.label}: did not run: {row.reason}" for row in self.rows if not row.ran]
        return "\n".join([*lines, "", *self._circumstances(ran), "", advice(self.rows)])

    def _circumstances(self, ran: Sequence[BenchRow]) -> Iterator[str]:
        machine, facts = self.about["hardware"], self.about
        if machine:
            gpus = "".join(f", {gpu['name']}" for gpu in machine["gpus"])
            yield f"{machine['processor']}, {machine['cores']} cores{gpus}; {machine['system']}"
        sizes = ", ".join(f"{width}x{height}" for width, height in facts["image_sizes_wh"])
        calls = sum(len(turn.seconds) for turn in ran[0].rounds) if ran else 0
        yield (
            f"ms: a call with one image of {sizes}, from pixels to boxes, median of "
            f"{facts['rounds']} rounds in turns; p95: of all {calls} calls; network: the forward "
            f"pass in it"
        )
        yield (
            "images/s (N): with N images per call; peak MB: of a process of its own; model MB: the "
            "part of it that loading and running took"
        )
        yield (
            f"unmatched (+ NMS ties), px, score: boxes compared with the .pt's at the same input "
            f"size, from a score of {facts['conf']:g}"
        )
        yield ", ".join(dict.fromkeys(row.facts["version"] for row in ran if row.facts["version"]))
        before, after = facts["load_average"]
        if before is not None and max(before, after - 1) > _BUSY:
            load = f"load average {before:.1f} before, {after:.1f} after"
            yield f"other programs were running ({load}): trust the ratios, not the times"


def _cells(row: BenchRow) -> tuple[str, ...]:
    facts, agreement, ratio = row.facts, row.agreement, row.times_as_fast
    images, together = row.throughput
    boxes = ("–",) * 4
    if agreement:
        ties = f"+{agreement.ties}" if agreement.ties else ""
        boxes = (
            str(agreement.boxes),
            f"{agreement.unmatched}{ties}",
            f"{agreement.box_px:.2g}",
            f"{agreement.score:.2g}",
        )
    return (
        row.label,
        row.precision,
        facts["device"],
        str(facts["threads"] or "–"),
        "{}x{}".format(*facts["imgsz_hw"]),
        *(f"{1000 * seconds:.1f}" for seconds in (row.latency, row.p95, row.network)),
        f"{ratio[0]:.2f}" if ratio else "–",
        f"{images:.1f} ({together})",
        f"{1000 * row.cpu:.0f}",
        _megabytes(facts["peak_memory_bytes"]),
        _megabytes(row.loaded_bytes),
        _megabytes(row.file_bytes, digits=1),
        *boxes,
    )


def _megabytes(size: int | None, digits: int = 0) -> str:
    return "–" if size is None else f"{size / 1e6:.{digits}f}"


def advice(rows: Sequence[BenchRow]) -> str:
    """Return what the figures recommend.

    That is the fastest runtime with the weights' boxes; of equally fast ones the one with the least
    processor time. A faster one whose boxes differ is mentioned, with what is not known about it.
    """
    ran = [row for row in rows if row.ran]
    if not ran:
        return "Nothing ran here, so there is nothing to recommend."
    weights = next((row for row in ran if row.is_weights), None)
    if weights is None:
        return (
            "The .pt did not run here, so no boxes could be compared and no runtime is recommended."
        )
    same_input = [row for row in ran if row.facts["imgsz_hw"] == weights.facts["imgsz_hw"]]
    proper = [
        row
        for row in same_input
        if row.is_weights or (row.agreement is not None and row.agreement.same)
    ]
    fastest = min(row.latency for row in proper)
    similar = [row for row in proper if row.latency <= fastest * (1 + _ALIKE)]
    best = min(similar, key=lambda row: row.cpu)
    return " ".join([_choice(best, similar), *_caveats(best, ran, same_input)])


def _choice(best: BenchRow, similar: Sequence[BenchRow]) -> str:
    figures = f"{_called(best)}: {_ms(best)} per image"
    if not best.is_weights:
        ratio, agreement = best.times_as_fast, best.agreement
        figures += f", {ratio[0]:.2f} times as fast as the .pt" if ratio else ""
        if agreement:
            figures += f", with its boxes ({agreement.boxes} within {agreement.box_px:.2g} px)"
    others = [f"{_called(row)} {_ms(row)}" for row in similar if row is not best]
    equal = (
        f"; of those within {_ALIKE:.0%} of the fastest ({', '.join(others)}) it takes the least "
        f"processor time"
        if others
        else ""
    )
    return f"Take {figures}{equal}."


def _caveats(
    best: BenchRow, ran: Sequence[BenchRow], same_input: Sequence[BenchRow]
) -> Iterator[str]:
    ratio = best.times_as_fast
    if not best.is_weights and ratio and ratio[1] <= 1 <= ratio[2]:
        yield "Its rounds were not always faster than the .pt's: measure again on a quiet machine."
    for row in same_input:
        agreement = row.agreement
        if row.is_weights or agreement is None or agreement.same:
            continue
        differs = f"its boxes are not those of the weights ({_differences(row)})"
        if row.lossy and row.latency < best.latency:
            yield (
                f"{_called(row)} is faster ({_ms(row)}), but {differs}; what that costs in AP is "
                f"measured by yolo-ema verify FILE --weights W --data D."
            )
        elif not row.lossy and agreement.boxes:
            yield (
                f"Don't use {_called(row)} before yolo-ema verify says why {differs}, although it "
                f"is in float32."
            )
    if any(row.agreement is not None and not row.agreement.boxes for row in ran):
        yield (
            "The weights found nothing in these images, so no boxes could be compared: give "
            "--images in which they do."
        )
    if others := [_called(row) for row in ran if row not in same_input]:
        yield f"Not compared, since their input size is not the .pt's: {', '.join(others)}."


def _differences(row: BenchRow) -> str:
    agreement = row.agreement
    if agreement is None:
        return ""
    far = f"up to {agreement.box_px:.2g} px and {agreement.score:.2g} in score"
    return (
        f"{agreement.unmatched} without counterpart among {agreement.boxes} of the weights, {far}"
    )


def _called(row: BenchRow) -> str:
    device = "" if row.facts["device"] == "cpu" else f" on {row.facts['device']}"
    return f"{'the .pt' if row.is_weights else row.label}{device}"


def _ms(row: BenchRow) -> str:
    return f"{1000 * row.latency:.0f} ms"
