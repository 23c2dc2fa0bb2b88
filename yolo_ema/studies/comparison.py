"""What a study's records say: for each arm and setting the values by seed, their spread, and the
paired differences.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from yolo_ema.studies.measures import PRIMARY_NAMES, figure
from yolo_ema.studies.records import Records
from yolo_ema.studies.spec import Arm, Evaluation, Study
from yolo_ema.studies.statistics import Paired, Spread, paired, spread

__all__ = ["Comparison", "Row", "Runs", "compare", "timed_runs"]

Runs = Mapping[tuple[str, int], Mapping[str, Any]]
"""Records by arm and seed."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One arm at one setting.

    Attributes:
        arm, at: which.
        values: seed → the primary figure, in percent, of the seeds that are there.
        spread: of these; None where there are none.
        to_baseline: differences to the baseline arm at the same setting and seed; None for itself
            and without a pair.
        to_first: differences to the same arm at the study's first setting; None there and without a
            pair.
        means: of the other figures.
        milliseconds: an image takes, over the seeds: in processor time, or by the wall clock where
            a GPU was used. Only of runs on the study's commonest hardware, see `timed_runs`.
    """

    arm: Arm
    at: Evaluation
    values: Mapping[int, float]
    spread: Spread | None
    to_baseline: Paired | None
    to_first: Paired | None
    means: Mapping[str, float | None]
    milliseconds: Spread | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A study's figures: rows by setting, then by arm, in the order of the spec."""

    records: Records
    rows: tuple[Row, ...]

    @property
    def study(self) -> Study:
        """Return the study."""
        return self.records.study

    def row(self, arm: str, at: Evaluation) -> Row:
        """Return the row of an arm at a setting; both must be the study's."""
        return next(row for row in self.rows if row.arm.name == arm and row.at == at)

    def as_json(self) -> dict[str, Any]:
        """Return the figures for machines."""
        study = self.study
        return {
            "study": study.name,
            "question": study.question,
            "primary": study.primary,
            "baseline": study.baseline,
            "budget": study.budget_text,
            "rows": [_row_json(row) for row in self.rows],
        }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "arm": row.arm.name,
        "at": row.at.key,
        "values": {str(seed): value for seed, value in row.values.items()},
        "spread": dataclasses.asdict(row.spread) if row.spread else None,
        "to_baseline": _paired_json(row.to_baseline),
        "to_first_setting": _paired_json(row.to_first),
        "means": dict(row.means),
        "ms_per_image": dataclasses.asdict(row.milliseconds) if row.milliseconds else None,
    }


def _paired_json(found: Paired | None) -> dict[str, Any] | None:
    if found is None:
        return None
    interval = list(found.interval) if found.interval else None
    return {
        "differences": list(found.differences),
        **dataclasses.asdict(found.spread),
        "interval_95": interval,
        "verdict": found.verdict,
    }


def timed_runs(runs: Runs) -> Runs:
    """Return the runs whose times can be compared: those on the hardware that most of them ran
    on.
    """
    machines = {run: json.dumps(record["hardware"], sort_keys=True) for run, record in runs.items()}
    commonest = statistics.mode(machines.values()) if machines else None
    return {run: record for run, record in runs.items() if machines[run] == commonest}


def compare(records: Records) -> Comparison:
    """Return what records say."""
    study, timed = records.study, timed_runs(records.runs)
    values = {
        (arm.name, at): _values(records, arm.name, at)
        for at in study.evaluations
        for arm in study.arms
    }
    rows = []
    for at in study.evaluations:
        for arm in study.arms:
            mine = values[arm.name, at]
            rows.append(
                Row(
                    arm,
                    at,
                    mine,
                    spread(list(mine.values())) if mine else None,
                    None
                    if arm.name == study.baseline
                    else _paired(mine, values[study.baseline, at]),
                    None
                    if at == study.evaluations[0]
                    else _paired(mine, values[arm.name, study.evaluations[0]]),
                    {name: _mean(records, arm.name, at, name) for name in PRIMARY_NAMES},
                    _milliseconds(
                        [
                            one["evaluations"].get(at.key)
                            for (name, _), one in timed.items()
                            if name == arm.name
                        ]
                    ),
                )
            )
    return Comparison(records, tuple(rows))


def _values(records: Records, arm: str, at: Evaluation) -> dict[int, float]:
    """Return seed → primary figure, of the runs that have one."""
    found = {seed: records.evaluation(arm, seed, at) for seed in records.study.seeds}
    figures = {seed: figure(one, records.study.primary) for seed, one in found.items() if one}
    return {seed: value for seed, value in figures.items() if value is not None}


def _paired(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Paired | None:
    both = [seed for seed in mine if seed in theirs]
    return paired([mine[seed] for seed in both], [theirs[seed] for seed in both]) if both else None


def _mean(records: Records, arm: str, at: Evaluation, name: str) -> float | None:
    found = [records.evaluation(arm, seed, at) for seed in records.study.seeds]
    known = [value for one in found if one and (value := figure(one, name)) is not None]
    return statistics.fmean(known) if known else None


def _milliseconds(evaluations: Iterable[Mapping[str, Any] | None]) -> Spread | None:
    found = [one["ms_per_image"] for one in evaluations if one]
    return spread([one[one["clock"]] for one in found]) if found else None
