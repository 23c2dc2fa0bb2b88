"""What a study's records say: for each arm and setting the values by seed, their spread, and the
paired differences.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import stdtrit

from yolo_ema.studies.network_size import NetworkSize, network_size
from yolo_ema.studies.record_format import FIGURE_NAMES, figure
from yolo_ema.studies.records import Records
from yolo_ema.studies.spec import Arm, Setting, Study

CONFIDENCE = 0.95

EQUAL_PAIRS = "pairs that all differ by exactly the same show nothing"
"""The verdict on them: figures of few images are coarse."""

_RESOLUTION = 1e-9  # points; differences closer than this differ by the computer's rounding alone

Runs = Mapping[tuple[str, int], Mapping[str, Any]]
"""Records by arm and seed."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A summary of values: their number, mean, sample standard deviation (None for a single value),
    least and most.
    """

    count: int
    mean: float
    deviation: float | None
    least: float
    most: float


@dataclasses.dataclass(frozen=True)
class Paired:
    """The differences of paired values.

    Attributes:
        differences: one for each pair.
        spread: of these.
        interval: the 95 % confidence interval of the mean difference by Student's t; None for a
            single pair.
    """

    differences: tuple[float, ...]
    spread: Spread
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Return what the differences show: ``higher``, ``lower``, ``no difference shown``, or that
        one pair, or pairs that all differ by the same, show nothing.
        """
        if self.interval is None:
            return "one pair alone shows nothing"
        if not self.spread.deviation and self.spread.mean:
            return EQUAL_PAIRS
        low, high = self.interval
        if low > 0:
            return "higher"
        return "lower" if high < 0 else "no difference shown"


def spread(values: Sequence[float]) -> Spread:
    """Return the summary of at least one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(len(values), statistics.fmean(values), deviation, min(values), max(values))


def paired(values: Sequence[float], baseline: Sequence[float]) -> Paired:
    """Return the differences of values to their partners in the baseline, in the same order; at
    least one pair.
    """
    differences = tuple(value - partner for value, partner in zip(values, baseline, strict=True))
    if max(differences) - min(differences) < _RESOLUTION:
        differences = differences[:1] * len(differences)
    summary = spread(differences)
    if summary.deviation is None:
        return Paired(differences, summary, None)
    quantile = float(stdtrit(summary.count - 1, (1 + CONFIDENCE) / 2))
    half = quantile * summary.deviation / math.sqrt(summary.count)
    return Paired(differences, summary, (summary.mean - half, summary.mean + half))


@dataclasses.dataclass(frozen=True)
class Row:
    """One arm at one setting.

    Attributes:
        arm, at: which.
        values: seed → the primary figure, in percent, of the runs that are measured.
        spread: of these; None without any.
        to_baseline: differences to the baseline arm at the same setting and seed; None for the
            baseline itself and without a pair.
        to_first: differences to the same arm at the study's first setting; None there and without a
            pair.
        means: of all figures.
        size: of the network.
        milliseconds: per image, over the seeds: processor time, or wall-clock time where a GPU was
            used. Only of runs on the study's most common hardware, see `timed_runs`.
    """

    arm: Arm
    at: Setting
    values: Mapping[int, float]
    spread: Spread | None
    to_baseline: Paired | None
    to_first: Paired | None
    means: Mapping[str, float | None]
    size: NetworkSize
    milliseconds: Spread | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures for machines."""
        return {
            "arm": self.arm.name,
            "at": self.at.key,
            "values": {str(seed): value for seed, value in self.values.items()},
            "spread": dataclasses.asdict(self.spread) if self.spread else None,
            "to_baseline": _paired_json(self.to_baseline),
            "to_first_setting": _paired_json(self.to_first),
            "means": dict(self.means),
            **dataclasses.asdict(self.size),
            "ms_per_image": dataclasses.asdict(self.milliseconds) if self.milliseconds else None,
        }


def _paired_json(pairs: Paired | None) -> dict[str, Any] | None:
    if pairs is None:
        return None
    return {
        "differences": list(pairs.differences),
        **dataclasses.asdict(pairs.spread),
        "interval_95": list(pairs.interval) if pairs.interval else None,
        "verdict": pairs.verdict,
    }


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A study's figures: rows by setting, then by arm, in the study file's order."""

    records: Records
    rows: tuple[Row, ...]

    @property
    def study(self) -> Study:
        """Return the study."""
        return self.records.study

    def row(self, arm: str, at: Setting) -> Row:
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
            "rows": [row.as_json() for row in self.rows],
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
    first = study.evaluations[0]
    values = {
        (arm.name, at): _values(records, arm.name, at, study.primary)
        for at in study.evaluations
        for arm in study.arms
    }
    rows = []
    for at in study.evaluations:
        for arm in study.arms:
            mine = values[arm.name, at]
            is_baseline = arm.name == study.baseline
            means = {
                name: statistics.fmean(known.values())
                if (known := _values(records, arm.name, at, name))
                else None
                for name in FIGURE_NAMES[study.task]
            }
            rows.append(
                Row(
                    arm=arm,
                    at=at,
                    values=mine,
                    spread=spread(list(mine.values())) if mine else None,
                    to_baseline=None if is_baseline else by_seed(mine, values[study.baseline, at]),
                    to_first=None if at == first else by_seed(mine, values[arm.name, first]),
                    means=means,
                    size=network_size(records, arm, at),
                    milliseconds=_milliseconds(timed, arm.name, at),
                )
            )
    return Comparison(records, tuple(rows))


def _values(records: Records, arm: str, at: Setting, name: str) -> dict[int, float]:
    """Return seed → figure, of the runs that have one."""
    values = {}
    for seed in records.study.seeds:
        evaluation = records.evaluation(arm, seed, at)
        if evaluation and (value := figure(evaluation, name)) is not None:
            values[seed] = value
    return values


def by_seed(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Paired | None:
    """Return the differences of values that have a partner of equal seed; None without any."""
    both = [seed for seed in mine if seed in theirs]
    return paired([mine[seed] for seed in both], [theirs[seed] for seed in both]) if both else None


def _milliseconds(timed: Runs, arm: str, at: Setting) -> Spread | None:
    times = [
        record["evaluations"][at.key]["ms_per_image"]
        for (name, _), record in timed.items()
        if name == arm and at.key in record["evaluations"]
    ]
    return spread([time[time["clock"]] for time in times]) if times else None
