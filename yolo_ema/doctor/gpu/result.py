"""How the checks ended: a table, JSON, and the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_ema.doctor.gpu.catalog import CHECKS
from yolo_ema.errors import CheckFailedError, MachineError
from yolo_ema.text_table import text_table

SCHEMA = 1
PASSED, FAILED, COULD_NOT_RUN = "passed", "failed", "could not run"
SKIPPED, NOT_RUN = "skipped", "not run"

MINIATURE = "in miniature on the CPU: it proves that the checks run, and nothing about a GPU"


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Attributes:
        name: of the check.
        status: ``passed``; ``failed``: a limit was not kept, or what is checked broke; ``could not
            run``: memory or time did not suffice; ``skipped``: a package that it needs is not
            installed; ``not run``: the budget was used up.
        seconds: that it took.
        reason: why it did not pass; empty if it did.
        measured: what it measured.
    """

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome with what was asked, all keys always there."""
        check = CHECKS.get(self.name)
        return {
            "name": self.name,
            "title": check.title if check else self.name,
            "limit": check.limit if check else "",
            "limit_s": check.limit_s if check else None,
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 2),
            "measured": self.measured,
        }


@dataclass(frozen=True)
class GpuResult:
    """What ``yolo-ema doctor --gpu`` found.

    Attributes:
        device: its name and memory.
        is_gpu: False for the CPU's miniature.
        outcomes: of each check that was asked for.
        machine: what `yolo_ema.doctor.examination.examine` says, as JSON.
        budget_s, seconds: what all might take, and took.
        folder: where page and JSON lie.
    """

    device: str
    is_gpu: bool
    outcomes: tuple[Outcome, ...]
    machine: dict[str, Any]
    budget_s: float
    seconds: float
    folder: Path

    @property
    def exit_code(self) -> int:
        """0 if all passed or were skipped; 7 if one failed; 6 if none failed and one could not run
        or was not run.
        """
        statuses = {outcome.status for outcome in self.outcomes}
        if FAILED in statuses:
            return CheckFailedError.exit_code
        return MachineError.exit_code if statuses & {COULD_NOT_RUN, NOT_RUN} else 0

    @property
    def counts(self) -> dict[str, int]:
        """How many checks ended in which way."""
        counted = Counter(outcome.status for outcome in self.outcomes)
        return {name: counted[name] for name in (PASSED, FAILED, COULD_NOT_RUN, SKIPPED, NOT_RUN)}

    @property
    def verdict(self) -> str:
        """The counts in a sentence."""
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        return counts + ("" if self.is_gpu else f" ({MINIATURE})")

    def as_json(self) -> dict[str, Any]:
        """Return all as plain values."""
        return {
            "schema": SCHEMA,
            "device": self.device,
            "miniature_on_cpu": not self.is_gpu,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "counts": self.counts,
            "budget_s": self.budget_s,
            "seconds": round(self.seconds, 1),
            "checks": [outcome.as_json() for outcome in self.outcomes],
            "machine": self.machine,
            "files": {"page": "doctor.html", "json": "doctor.json"},
        }

    def as_text(self) -> str:
        """Return a row for each check, the verdict, and where to read more."""
        rows = [
            ("check", "", "", "seconds"),
            *((run.name, run.status, run.reason, f"{run.seconds:.1f}") for run in self.outcomes),
        ]
        return "\n".join(
            [
                f"device  {self.device}",
                *text_table(rows, left=3),
                f"{self.verdict}; {self.seconds:.0f} s of {self.budget_s:.0f}",
                f"see     {self.folder / 'doctor.html'}",
            ]
        )
