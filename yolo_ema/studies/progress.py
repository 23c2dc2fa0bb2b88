"""How far a study has come, and how long the rest will take."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_ema.engine.training.run_record import RECORD_NAME
from yolo_ema.io.atomic_files import read_json
from yolo_ema.studies.jobs import weights_of
from yolo_ema.studies.records import Records, run_id
from yolo_ema.studies.runner import duration
from yolo_ema.studies.spec import Study, Task


@dataclasses.dataclass(frozen=True)
class RunState:
    """One run.

    Attributes:
        arm, seed: which.
        state: done, to measure (with or without the weights that this needs), training, or left.
        epochs: done so far.
        seconds_left: an estimate in wall-clock time, from the epochs timed on this machine; None
            before the first.
    """

    arm: str
    seed: int
    state: str
    epochs: int
    seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class Progress:
    """A study's runs in their order."""

    study: Study
    runs: tuple[RunState, ...]

    @property
    def seconds_left(self) -> float | None:
        """Return the estimate for all runs that are left; None while it is unknown."""
        left = [run.seconds_left for run in self.runs if run.state != "done"]
        return None if None in left else sum(seconds or 0.0 for seconds in left)

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "study": self.study.name,
            "budget": self.study.budget_text,
            "runs": [dataclasses.asdict(run) for run in self.runs],
            "seconds_left": self.seconds_left,
        }

    def as_text(self) -> str:
        """Return it as a table."""
        width = max(len(run.arm) for run in self.runs)
        done = sum(run.state == "done" for run in self.runs)
        time_left = (
            "not known before an epoch is timed"
            if self.seconds_left is None
            else f"about {duration(self.seconds_left)}"
        )
        lines = [
            f"{self.study.name}: {self.study.question}",
            f"budget of a run: {self.study.budget_text}",
            *(f"{run.arm:{width}}  seed {run.seed}  {_state(run)}" for run in self.runs),
            (
                f"{done} of {len(self.runs)} runs done; time left, one run after the other: "
                f"{time_left}"
            ),
        ]
        return "\n".join(lines)


def _state(run: RunState) -> str:
    done = f"{run.epochs} epoch{'s' * (run.epochs != 1)} done"
    epochs = f", {done}" if run.state == "training" else ""
    if run.state == "done" or run.seconds_left is None:
        return run.state + epochs
    return f"{run.state}{epochs}, about {duration(run.seconds_left)} left"


def progress_of(study: Study, records: Records, runs: Path) -> Progress:
    """Return how far a study has come; ``runs`` is the folder of its trainings and their clocks."""
    clocks = {run: _epochs(study.task, runs, *run) for run in study.runs}
    paces = {
        arm.name: _pace([clocks[arm.name, seed] for seed in study.seeds]) for arm in study.arms
    }
    known = [pace for pace in paces.values() if pace is not None]
    usual = statistics.fmean(known) if known else None
    return Progress(
        study,
        tuple(
            _run_state(
                records,
                run,
                has_weights=weights_of(runs / run_id(*run), study.task).is_file(),
                epochs=clocks[run],
                pace=paces[run[0]] or usual,
            )
            for run in study.runs
        ),
    )


def _run_state(
    records: Records,
    run: tuple[str, int],
    *,
    has_weights: bool,
    epochs: Sequence[dict[str, float]],
    pace: float | None,
) -> RunState:
    if run in records.runs:
        done = int(records.runs[run]["training"]["epochs"])
        if not records.missing(*run):
            return RunState(*run, "done", done, 0.0)
        state = "to measure" if has_weights else "to measure, and its weights are not here"
        return RunState(*run, state, done, 0.0)
    budget = records.study.arm(run[0]).budget
    if budget.epochs is not None:
        left = None if pace is None else pace * max(budget.epochs - len(epochs), 0)
    else:
        used = sum(epoch[f"train_{budget.clock}"] for epoch in epochs)
        left = max((budget.seconds or 0.0) - used, 0.0)
    return RunState(*run, "training" if epochs else "left", len(epochs), left)


def _epochs(task: Task, runs: Path, arm: str, seed: int) -> list[dict[str, float]]:
    """Return the times of a run's epochs, as far as it has come."""
    if task == "classify":
        file = runs / run_id(arm, seed) / RECORD_NAME
        done = read_json(file)["epochs"] if file.is_file() else []
        return [{"train_wall": epoch["seconds"]} for epoch in done]
    clock = runs / f"{run_id(arm, seed)}.clock.json"
    epochs: list[dict[str, float]] = read_json(clock)["epochs"] if clock.is_file() else []
    return epochs


def _pace(runs: Sequence[Sequence[dict[str, float]]]) -> float | None:
    """Return the mean seconds of an epoch with its validation; None before the first."""
    seconds = [epoch.get("all_wall", epoch["train_wall"]) for epochs in runs for epoch in epochs]
    return statistics.fmean(seconds) if seconds else None
