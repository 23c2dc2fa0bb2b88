"""What a study shows when all its comparisons are taken together: each arm against the baseline,
and the candidate against every other arm, in pairs of equal seed.

Each comparison is a paired t-test at 5 %. Of twenty comparisons between equals one would differ by
chance, so the tests are corrected by Holm's method (Scandinavian Journal of Statistics 6, 1979),
which keeps the probability that any difference shown in the study is wrong at 5 %, however the
comparisons depend on each other. All that the study plans are counted, also those that have not
been run.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy.special import nctdtrinc, stdtr, stdtrit

from yolo_ema.studies.comparison import CONFIDENCE, Comparison, Paired, by_seed
from yolo_ema.studies.spec import Setting

_LEVEL = 1 - CONFIDENCE
_POWER = 0.8


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Two arms compared at a setting.

    Attributes:
        arm, other: their names; differences are the arm's value less the other's.
        at: the setting.
        pairs: the differences; None without a pair.
        corrected: the p-value, corrected for all comparisons of the study; 1 with fewer than two
            pairs, or with differences that are all the same, of which no test can judge.
    """

    arm: str
    other: str
    at: Setting
    pairs: Paired | None
    corrected: float

    @property
    def is_shown(self) -> bool:
        """Say whether the study shows a difference."""
        return self.corrected < _LEVEL

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "arm": self.arm,
            "other": self.other,
            "at": self.at.key,
            "difference": self.pairs.spread.mean if self.pairs else None,
            "pairs": self.pairs.spread.count if self.pairs else 0,
            "p_corrected": self.corrected,
            "shown": self.is_shown,
        }


def contrasts(comparison: Comparison) -> tuple[Contrast, ...]:
    """Return every comparison of a study: of the arms with the baseline, then of the candidate, if
    there is one, with the others.
    """
    study = comparison.study
    named = [
        (row.arm.name, study.baseline, row.at)
        for row in comparison.rows
        if row.arm.name != study.baseline
    ]
    if study.candidate:
        named += [
            (study.candidate, other, at) for other, _, at in named if other != study.candidate
        ]
    pairs = [
        by_seed(comparison.row(arm, at).values, comparison.row(other, at).values)
        for arm, other, at in named
    ]
    corrected = holm([_p_value(one) for one in pairs])
    return tuple(
        Contrast(*names, one, p_value)
        for names, one, p_value in zip(named, pairs, corrected, strict=True)
    )


def _p_value(pairs: Paired | None) -> float:
    """Return the two-sided probability of differences as large as these between equals."""
    if pairs is None or not pairs.spread.deviation:
        return 1.0
    summary = pairs.spread
    statistic = abs(summary.mean) / (pairs.spread.deviation / math.sqrt(summary.count))
    return float(2 * stdtr(summary.count - 1, -statistic))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number: those below a level are wrong together with at
    most that probability.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(order), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min((len(order) - place) * p_values[index], 1.0))
        corrected[index] = highest
    return corrected


def detectable(deviation: float, pairs: int, comparisons: int) -> float:
    """Return the difference that four of five studies would show as the first of theirs.

    Args:
        deviation: of the differences within pairs.
        pairs: of each comparison, at least 2.
        comparisons: of the study, which the level is shared by.
    """
    critical = stdtrit(pairs - 1, 1 - _LEVEL / comparisons / 2)
    noncentrality = nctdtrinc(pairs - 1, 1 - _POWER, critical)
    return float(noncentrality) * deviation / math.sqrt(pairs)


def conclusion(comparison: Comparison) -> str:
    """Return in plain words what the study shows, what it does not, and what it could have."""
    study, all_of_them = comparison.study, contrasts(comparison)
    judged = [one.pairs.spread for one in all_of_them if one.pairs and one.pairs.interval]
    if not judged:
        return "**Result**: none yet, since no two arms have two pairs of equal seeds."
    said = [
        f"**Result**, at 5 % and corrected for all {len(all_of_them)} comparisons of the study."
        if len(all_of_them) > 1
        else "**Result**, at 5 %.",
        _told(
            f"Against {study.baseline}",
            [(one.arm, one) for one in all_of_them if one.other == study.baseline],
        ),
    ]
    if rivals := [(one.other, one) for one in all_of_them if one.other != study.baseline]:
        said.append(_told(f"For {study.candidate} against each other arm", rivals))
    pairs = statistics.mode(spread.count for spread in judged)
    if deviation := math.sqrt(statistics.fmean((one.deviation or 0) ** 2 for one in judged)):
        least, alone = (detectable(deviation, pairs, number) for number in (len(all_of_them), 1))
        only = f", or of {alone:.2f} where it is the only comparison" if least != alone else ""
        said.append(
            f"With deviations like these and {pairs} pairs, four of five studies show a difference "
            f"of {least:.2f} points{only}."
        )
    return " ".join(said)


def _told(intro: str, named: Sequence[tuple[str, Contrast]]) -> str:
    """Return a sentence: which comparisons show a difference, which would alone, and which don't;
    each by the name of the arm that it is about.
    """
    several = len({one.at for _, one in named}) > 1
    shown, alone, not_shown, not_judged = [], [], [], []
    for name, one in named:
        name += f" at {_setting(one.at)}" * several
        if one.pairs is None or one.pairs.interval is None:
            not_judged.append(name)
        elif one.is_shown:
            shown.append(f"{name} ({one.pairs.spread.mean:+.2f})")
        elif one.pairs.verdict in {"higher", "lower"}:
            alone.append(f"{name} ({one.pairs.spread.mean:+.2f})")
        else:
            not_shown.append(name)
    parts = {
        "a difference is shown for": shown,
        "a difference by its own interval alone for": alone,
        "no difference is shown for": not_shown,
        "there are fewer than two pairs for": not_judged,
    }
    said = "; ".join(f"{verdict} {', '.join(names)}" for verdict, names in parts.items() if names)
    return f"{intro}, {said}."


def _setting(at: Setting) -> str:
    return str(at.imgsz) if at.tile == "off" else f"{at.imgsz} in tiles of {at.tile}"
