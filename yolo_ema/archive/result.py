"""The result of ``yolo-ema archive``: counts, problems, JSON, an exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from yolo_ema.archive.job import DONE, FAILED, INCOMPLETE, UNDONE, Outcome
from yolo_ema.archive.manifest import Manifest, Pending
from yolo_ema.errors import MachineError, SourceError
from yolo_ema.media.sources.folder_scan import LeftOut
from yolo_ema.text_table import text_table

_INTERRUPTED = 130
_MOST_ROWS, _MOST_SHOWN = 1000, 20


@dataclass
class ArchiveResult:
    """What has become of an archive, or of a shard of it, so far.

    Attributes:
        out: the folder or address.
        jobs: how many there are.
        done_before: how many of them were done before this run.
        done, incomplete, failed: how many ended so in this run; incomplete jobs have detections of
            what could be read.
        left_alone: how many were incomplete, or had failed twice, before this run.
        to_do: how many have not ended; the same command again runs them.
        frames, objects: how many were run and found in this run.
        seconds: how long this run took.
        worker_seconds: how long its jobs took, summed over them.
        rows: the jobs that failed or are incomplete, of this run and before, the first thousand.
        machine_problem: what ended the run early; "" if nothing did.
        interrupted: Ctrl-C or SIGTERM ended the run.
        left_out: what lies at the sources and is not read.
        not_cut: by reason, how many long videos are one job each, and the first of them.
        jobs_without_positions: in how many jobs of this run a source had no telemetry.
        no_positions: why, by source, the first thousand.
        unplaced: how many objects of this run have no position, by the code of the reason.
        crops_left_out: how many objects of this run got no crop.
        frames_at_max_det: how many frames of this run reached the limit of objects.
    """

    out: str
    jobs: int = 0
    done_before: int = 0
    done: int = 0
    incomplete: int = 0
    failed: int = 0
    left_alone: int = 0
    to_do: int = 0
    frames: int = 0
    objects: int = 0
    seconds: float = 0.0
    worker_seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    machine_problem: str = ""
    interrupted: bool = False
    left_out: tuple[LeftOut, ...] = ()
    not_cut: dict[str, tuple[int, str]] = field(default_factory=dict)
    jobs_without_positions: int = 0
    no_positions: dict[str, str] = field(default_factory=dict)
    unplaced: dict[str, int] = field(default_factory=dict)
    crops_left_out: int = 0
    frames_at_max_det: int = 0

    @classmethod
    def before(cls, out: str, pending: Pending, manifest: Manifest) -> ArchiveResult:
        """Return the result of a run that has not begun."""
        rows = list(pending.left_alone[:_MOST_ROWS])
        failed = sum(row["state"] == FAILED for row in pending.left_alone)
        to_do, alone = len(pending.todo), len(pending.left_alone)
        return cls(
            out,
            jobs=pending.done + failed + to_do,
            done_before=pending.done,
            left_alone=alone,
            to_do=to_do,
            rows=rows,
            left_out=manifest.left_out,
            not_cut=manifest.not_cut,
        )

    def add(self, outcome: Outcome) -> None:
        """Add what became of a job."""
        self.done += outcome.state == DONE
        self.incomplete += outcome.state == INCOMPLETE
        self.failed += outcome.state == FAILED
        self.frames += outcome.frames
        self.objects += outcome.objects
        self.worker_seconds += outcome.seconds
        self.crops_left_out += outcome.crops_left_out
        self.frames_at_max_det += outcome.frames_at_max_det
        if outcome.state == UNDONE:
            self.machine_problem = self.machine_problem or outcome.problem
            return
        self.to_do -= 1
        self.jobs_without_positions += bool(outcome.no_positions)
        if len(self.no_positions) < _MOST_ROWS:
            self.no_positions |= outcome.no_positions
        for reason, count in outcome.unplaced.items():
            self.unplaced[reason] = self.unplaced.get(reason, 0) + count
        if outcome.state != DONE and len(self.rows) < _MOST_ROWS:
            names = ("id", "name", "state", "attempts", "problem")
            self.rows.append({name: getattr(outcome, name) for name in names})

    @property
    def ended(self) -> int:
        """How many jobs ended in this run."""
        return self.done + self.incomplete + self.failed

    @property
    def exit_code(self) -> int:
        """0; 5 if a job failed or is incomplete; 6 if the machine or a source kept jobs from being
        done; 130 if a signal ended the run.
        """
        if self.interrupted:
            return _INTERRUPTED
        if self.machine_problem:
            return MachineError.exit_code
        return SourceError.exit_code if self.failed or self.incomplete or self.left_alone else 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        values = asdict(self)
        values |= {
            "seconds": round(self.seconds, 3),
            "worker_seconds": round(self.worker_seconds, 3),
            "machine_problem": self.machine_problem or None,
            "problems": values.pop("rows"),
        }
        return values

    def as_text(self) -> str:
        """Return a short table, and the problems."""
        rows = [
            ("jobs", f"{self.jobs:,}"),
            ("done before", f"{self.done_before:,}"),
            ("done now", f"{self.done:,}"),
            ("incomplete", f"{self.incomplete:,}"),
            ("failed", f"{self.failed:,}"),
            ("left alone", f"{self.left_alone:,}"),
            ("to do", f"{self.to_do:,}"),
            ("frames now", f"{self.frames:,}"),
            ("objects now", f"{self.objects:,}"),
            ("seconds", f"{self.seconds:,.1f}"),
            ("frames per second", f"{self.frames / self.seconds if self.seconds else 0:,.1f}"),
        ]
        lines = text_table(rows)
        lines += (
            f"{row['state']}: {row['name']}: {row['problem']} (attempt {row['attempts']})"
            for row in self.rows[:_MOST_SHOWN]
        )
        if (more := self.failed + self.incomplete + self.left_alone - _MOST_SHOWN) > 0:
            lines.append(f"… and {more:,} more: {self.out}/problems")
        lines += map(str, self.left_out[:_MOST_SHOWN])
        if len(self.left_out) > _MOST_SHOWN:
            lines.append(f"… and {len(self.left_out) - _MOST_SHOWN:,} more places")
        lines += (
            f"{count:,} long videos are one job each, not cut: {reason}; the first: {first}"
            for reason, (count, first) in self.not_cut.items()
        )
        lines += self._positions()
        if self.crops_left_out:
            lines.append(f"{self.crops_left_out:,} objects got no crop: a job makes 10,000 at most")
        if self.frames_at_max_det:
            lines.append(
                f"{self.frames_at_max_det:,} frames reached --max-det: weaker objects were left out"
            )
        if self.machine_problem:
            lines.append(f"not all could be done: {self.machine_problem}")
        if self.to_do:
            are = "job is" if self.to_do == 1 else "jobs are"
            lines.append(f"{self.to_do:,} {are} to be done: run the same command again")
        if again := sum(row["attempts"] == 1 and row["state"] == FAILED for row in self.rows):
            jobs = f"{again:,} failed job{'s' * (again != 1)}"
            lines.append(f"the same command again tries {jobs} once more")
        lines.append(f"written: {self.out}")
        return "\n".join(lines)

    def _positions(self) -> list[str]:
        """Say how many objects have no position, and why."""
        if not self.unplaced and not self.no_positions:
            return []
        from yolo_ema.geo.sightings import UNPLACED

        lines = [
            f"{count:,} of {self.objects:,} objects have no position: {UNPLACED[reason]}"
            for reason, count in sorted(self.unplaced.items())
        ]
        if self.no_positions:
            source, reason = next(iter(self.no_positions.items()))
            jobs = f"{self.jobs_without_positions:,} job{'s' * (self.jobs_without_positions != 1)}"
            lines.append(f"no positions in {jobs}; the first: {source}: {reason}")
        return lines
