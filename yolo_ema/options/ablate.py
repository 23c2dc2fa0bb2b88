"""Options of ``yolo-ema ablate``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option
from yolo_ema.options.shared import device_option

_RUN = re.compile(r"(?P<arm>[A-Za-z0-9][A-Za-z0-9_.-]*):(?P<seed>\d+)")


def run_name(word: str) -> tuple[str, int] | None:
    """Return arm and seed of ``ARM:SEED``; None for another form."""
    match = _RUN.fullmatch(word)
    return (match["arm"], int(match["seed"])) if match else None


@dataclass(frozen=True, kw_only=True)
class AblateOptions(Options):
    """Which study to run or report, and where its data, runs and records are on this machine."""

    spec: Path = option(
        positional=True,
        help="the study's YAML: question, arms, seeds, budget, what to measure "
        "(docs/experiments.md)",
    )
    data: str | None = option(
        None,
        help="the study's dataset on this machine, as in train; default: its name in the spec",
    )
    pretrained: str | None = option(
        None,
        help="its initial weights on this machine; default: their name in the spec (classifiers "
        "have none)",
    )
    only: tuple[str, ...] = option(
        (), metavar="ARM:SEED", help="run only these, to spread a study over machines"
    )
    list: bool = option(
        False,
        help="show what is done, what is left and how long it will take, without running anything",
    )
    report_only: bool = option(
        False, help="make tables and plots from the existing records, without running anything"
    )
    jobs: int = option(
        1,
        help="parallel runs; each uses all cores unless YOLO_EMA_THREADS is set",
        at_least=1,
    )
    device: str = device_option(help="auto, cpu, mps, or a GPU number, as in train")
    runs: Path = option(
        Path("runs/ablate"), metavar="DIR", help="folder for the trainings and their weights"
    )
    records: Path | None = option(
        None,
        metavar="DIR",
        help="folder for the study's records; default: what it says, or records/NAME next to it",
    )
    out: Path | None = option(
        None,
        metavar="DIR",
        help="folder for table, figures and plots; default: NAME next to the spec",
    )
    markdown: Path | None = option(
        None,
        metavar="FILE",
        help="also update the study's table in this file, between its marks, and the plots that it "
        "shows",
    )
    offline: bool = option(False, help="forbid every download")

    def problems(self) -> Iterator[str]:
        """Yield what is wrong."""
        for word in self.only:
            if run_name(word) is None:
                yield f"--only has {word!r}; expected an arm, a colon and a seed, as in none:0"
        if self.list and self.report_only:
            yield "--list and --report-only cannot be combined"
        if (self.list or self.report_only) and self.only:
            yield "--only says what to run; it cannot be combined with --list or --report-only"
        if "," in self.device:
            yield (
                f"--device is {self.device}; a run of a study takes one device, spread runs with "
                "--only"
            )
