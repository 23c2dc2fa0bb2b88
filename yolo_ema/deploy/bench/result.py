"""What ``bench`` found, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_ema.deploy.bench.advice import advice
from yolo_ema.deploy.bench.row import BenchRow
from yolo_ema.errors import MachineError
from yolo_ema.text_table import text_table

__all__ = ["BenchResult"]

_HEAD = (
    *(
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
    ),
    *("peak MB", "model MB", "disk MB", "boxes", "unmatched", "px", "score"),
)
_LEFT = 3
_BUSY = 1.0
"""Load beyond what the measuring itself makes, from which on the times are said to be disturbed."""


@dataclass(frozen=True)
class BenchResult:
    """The runtimes of one machine beside each other.

    Attributes:
        weights: the .pt that they are compared with.
        rows: a runtime each, the .pt first.
        about: ``images``, ``image_sizes_wh``, ``rounds``, ``hardware``, ``versions``,
            ``load_average`` (before, after), ….
    """

    weights: Path
    rows: tuple[BenchRow, ...]
    about: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """Not 0 only where nothing ran."""
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
        """Return the table, what did not run and why, what it was measured on, and the
        recommendation.
        """
        ran = [row for row in self.rows if row.ran]
        lines = text_table([_HEAD, *map(_cells, ran)], left=_LEFT) if ran else []
        lines += [f"{row.label}: did not run: {row.reason}" for row in self.rows if not row.ran]
        return "\n".join([*lines, "", *self._circumstances(ran), "", advice(self.rows)])

    def _circumstances(self, ran: Sequence[BenchRow]) -> Iterator[str]:
        machine, about = self.about["hardware"], self.about
        if machine:
            gpus = "".join(f", {gpu['name']}" for gpu in machine["gpus"])
            yield f"{machine['processor']}, {machine['cores']} cores{gpus}; {machine['system']}"
        sizes = ", ".join(f"{width}x{height}" for width, height in about["image_sizes_wh"])
        calls = sum(len(turn.seconds) for turn in ran[0].rounds) if ran else 0
        yield (
            f"ms: a call with one picture of {sizes}, from its pixels to its boxes, median of "
            f"{about['rounds']} rounds in turns; "
            f"p95: of all {calls} calls; network: of that the forward pass"
        )
        yield (
            "images/s: (N) with N images a call; peak MB: of a process of its own, with PyTorch; "
            "model MB: of that what loading "
            "and running took"
        )
        yield (
            f"unmatched (+ ties of NMS), px, score: boxes against the .pt's at the same input, "
            f"from a score of {about['conf']:g}"
        )
        yield ", ".join(dict.fromkeys(row.facts["version"] for row in ran if row.facts["version"]))
        before, after = about["load_average"]
        if before is not None and max(before, after - 1) > _BUSY:
            load = f"load average {before:.1f} before, {after:.1f} after"
            yield f"other programs were at work ({load}): trust the ratios, not the times"


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
        *(
            row.label,
            row.precision,
            facts["device"],
            str(facts["threads"] or "–"),
            "{}x{}".format(*facts["imgsz_hw"]),
        ),
        *(f"{1000 * seconds:.1f}" for seconds in (row.latency, row.p95, row.network)),
        *(
            f"{ratio[0]:.2f}" if ratio else "–",
            f"{images:.1f} ({together})",
            f"{1000 * row.cpu:.0f}",
        ),
        *(
            _megabytes(facts["peak_memory_bytes"]),
            _megabytes(row.loaded_bytes),
            _megabytes(row.file_bytes, digits=1),
        ),
        *boxes,
    )


def _megabytes(size: int | None, digits: int = 0) -> str:
    return "–" if size is None else f"{size / 1e6:.{digits}f}"
