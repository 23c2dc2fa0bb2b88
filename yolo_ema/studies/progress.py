"""How far a study is, and how long the rest takes."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_ema.io.atomic_files import read_json
from yolo_ema.studies.jobs import weights_of
from yolo_ema.studies.records import Records, run_id
from yolo_ema.studies.spec import Study

__all__ = ["Progress", "RunState", "progress_of"]


@dataclasses.dataclass(frozen=True)
class RunState:
    """One run.

    Attributes:
        arm, seed: which.
        state: done, to measure (with or without the weights that this needs), training, or left.
        epochs: done so far.
        seconds_left: estimated, by the wall clock of this machine's epochs so far; None where
            nothing is known.
    """

    arm: str
    seed: int
    state: str
    epochs: int
    seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class Progress:
    """A study's runs in the order in which they are made."""

    study: Study
    runs: tuple[RunState, ...]

    @property
    def seconds_left(self) -> float | None:
        """Return the estimate for all that is left; None where it is not known."""
        left = [run.seconds_left for run in self.runs if run.state != "done"]
        return None if None in left else sum(one or 0.0 for one in left)

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
        lines = [
            f"{self.study.name}: {self.study.question}",
            f"budget of a run: {self.study.budget_text}",
        ]
        width = max(len(run.arm) for run in self.runs)
        lines += [f"{run.arm:{width}}  seed {run.seed}  {_state(run)}" for run in self.runs]
        done = sum(run.state == "done" for run in self.runs)
        time_left = (
            "not known before an epoch is timed"
            if self.seconds_left is None
            else f"about {self.seconds_left / 3600:.1f} h"
        )
        return "\n".join(
            [
                *lines,
                (
                    f"{done} of {len(self.runs)} runs done; time left, one run after the other: "
                    f"{time_left}"
                ),
            ]
        )


def _state(run: RunState) -> str:
    epochs = f", {run.epochs} epochs done" if run.state == "training" else ""
    left = (
        f", about {run.seconds_left / 3600:.1f} h left"
        if run.state != "done" and run.seconds_left is not None
        else ""
    )
    return run.state + epochs + left


def progress_of(study: Study, records: Records, runs: Path) -> Progress:
    """Return how far a study is.

    Args:
        study: the study.
        records: its records.
        runs: the folder of its trainings, with their clocks.
    """
    order = [(arm.name, seed) for seed in study.seeds for arm in study.arms]
    clocks = {run: _epochs(runs, *run) for run in order}
    paces = {
        arm.name: _pace([clocks[arm.name, seed] for seed in study.seeds]) for arm in study.arms
    }
    known = [pace for pace in paces.values() if pace is not None]
    usual = statistics.fmean(known) if known else None
    there = {run: weights_of(runs / run_id(*run)).is_file() for run in order}
    return Progress(
        study,
        tuple(
            _run_state(records, run, there[run], clocks[run], paces[run[0]] or usual)
            for run in order
        ),
    )


def _run_state(
    records: Records,
    run: tuple[str, int],
    has_weights: bool,
    epochs: Sequence[dict[str, float]],
    pace: float | None,
) -> RunState:
    if run in records.runs:
        done = int(records.runs[run]["training"]["epochs"])
        if not records.missing(*run):
            return RunState(*run, "done", done, 0.0)
        return RunState(
            *run,
            "to measure" if has_weights else "to measure, and its weights are not here",
            done,
            0.0,
        )
    budget = records.study.arm(run[0]).budget
    if budget.epochs is not None:
        left = None if pace is None else pace * max(budget.epochs - len(epochs), 0)
    else:
        left = max(
            (budget.seconds or 0.0) - sum(one[f"train_{budget.clock}"] for one in epochs), 0.0
        )
    return RunState(*run, "training" if epochs else "left", len(epochs), left)


def _epochs(runs: Path, arm: str, seed: int) -> list[dict[str, float]]:
    clock = runs / f"{run_id(arm, seed)}.clock.json"
    epochs: list[dict[str, float]] = read_json(clock)["epochs"] if clock.is_file() else []
    return epochs


def _pace(runs: Sequence[Sequence[dict[str, float]]]) -> float | None:
    """Return the mean seconds of an epoch with its validation."""
    seconds = [one.get("all_wall", one["train_wall"]) for epochs in runs for one in epochs]
    return statistics.fmean(seconds) if seconds else None
