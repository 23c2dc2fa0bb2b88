"""Options of ``yolo-ema ablate``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option

__all__ = ["AblateOptions", "run_name"]

_RUN = re.compile(r"(?P<arm>[A-Za-z0-9][A-Za-z0-9_.-]*):(?P<seed>\d+)")


def run_name(word: str) -> tuple[str, int] | None:
    """Return arm and seed of ``ARM:SEED``; None for another form."""
    match = _RUN.fullmatch(word)
    return (match["arm"], int(match["seed"])) if match else None


@dataclass(frozen=True, kw_only=True)
class AblateOptions(Options):
    """Which study to run or report, and where its data, runs and records lie on this machine."""

    spec: Path = option(
        positional=True,
        help="the study's YAML: question, arms, seeds, budget, what to measure "
        "(docs/experiments.md)",
    )
    data: str | None = option(
        None,
        help="where the study's dataset lies on this machine, as in train; without it its name in "
        "the spec",
    )
    pretrained: str | None = option(
        None, help="where its first weights lie on this machine; without it their name in the spec"
    )
    only: tuple[str, ...] = option(
        (), metavar="ARM:SEED", help="run only these; so that a study can be spread over machines"
    )
    list: bool = option(
        False, help="show what is done, what is left and how long that takes, and run nothing"
    )
    report_only: bool = option(
        False, help="tables and pictures from the records that are there, and run nothing"
    )
    jobs: int = option(
        1,
        help="runs at the same time; each computes on all cores unless YOLO_EMA_THREADS says "
        "otherwise",
    )
    device: str = option("auto", help="auto, cpu, mps, or a GPU's number, as in train")
    runs: Path = option(
        Path("runs/ablate"), metavar="DIR", help="where trainings and their weights go"
    )
    records: Path | None = option(
        None,
        metavar="DIR",
        help="where the study's records go; without it records/NAME beside the spec",
    )
    out: Path | None = option(
        None,
        metavar="DIR",
        help="where table, figures and pictures go; without it NAME beside the spec",
    )
    markdown: Path | None = option(
        None,
        metavar="FILE",
        help="also renew the study's table in this file, between its marks, and the pictures that "
        "it shows",
    )
    offline: bool = option(False, help="forbid every download")

    def problems(self) -> Iterator[str]:
        """Yield what is wrong."""
        if self.jobs < 1:
            yield f"--jobs is {self.jobs}; expected 1 or more"
        for word in self.only:
            if run_name(word) is None:
                yield f"--only has {word!r}; expected an arm, a colon and a seed, as in none:0"
        if self.list and self.report_only:
            yield "--list and --report-only exclude each other"
        if (self.list or self.report_only) and self.only:
            yield "--only says what to run; it does not go with --list or --report-only"
        if "," in self.device:
            yield (
                f"--device is {self.device}; a study's run takes one device, spread runs with "
                f"--only"
            )
