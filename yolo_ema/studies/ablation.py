"""``yolo-ema ablate``: runs a study, or what is left of it, and reports what its records show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_ema.engine.training.launch import require_one_process
from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.io.atomic_files import write_json, write_text
from yolo_ema.options.ablate import AblateOptions, run_name
from yolo_ema.studies.comparison import Comparison, compare
from yolo_ema.studies.conclusion import contrasts
from yolo_ema.studies.jobs import Job, find_place
from yolo_ema.studies.plots import draw_plots
from yolo_ema.studies.progress import Progress, progress_of
from yolo_ema.studies.records import Records
from yolo_ema.studies.runner import Failure, run_jobs
from yolo_ema.studies.spec import Study
from yolo_ema.studies.spec_reader import read_study
from yolo_ema.studies.tables import renew_section, table


@dataclasses.dataclass(frozen=True)
class AblateResult:
    """What the records show, and what was written.

    Attributes:
        comparison: the figures.
        progress: the state of its runs.
        files: what was written.
        failures: runs that failed; then the exit code is 7.
    """

    comparison: Comparison
    progress: Progress
    files: tuple[Path, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 7 if a run failed, else 0."""
        return 7 if self.failures else 0

    def as_json(self) -> dict[str, Any]:
        """Return the figures for machines."""
        return {
            **_figures(self.comparison),
            "progress": self.progress.as_json(),
            "files": [str(path) for path in self.files],
            "failures": [failure.as_text() for failure in self.failures],
        }

    def as_text(self) -> str:
        """Return the table and the state for a terminal."""
        lines = [table(self.comparison), "", *self.progress.as_text().splitlines()[-1:]]
        lines += [f"written: {path}" for path in self.files]
        return "\n".join([*lines, *(f"failed: {failure.as_text()}" for failure in self.failures)])


def ablate(options: AblateOptions) -> AblateResult | Progress:
    """Run a study, list what is left of it, or report its records.

    Raises:
        ConfigError: the study's file is wrong, where everything wrong is named; or a launcher has
            started several processes to make its runs.
        DataError: the data is missing, or records don't belong together.
        ModelError: a detector cannot be built.
        WeightsError: the first weights are missing, not a detector's, or fit an arm too little.
        OfflineError: a download would be needed.
        DiskFullError: the disk is full.
    """
    study = read_study(options.spec)
    folder = options.records or study.records_folder
    records = Records.read(study, folder)
    runs = options.runs / study.name
    if options.list:
        return progress_of(study, records, runs)
    failures: list[Failure] = []
    if not options.report_only:
        failures = _run(study, records, options, folder)
        records = Records.read(study, folder)
    comparison = compare(records)
    files = _write(comparison, options.out or options.spec.parent / study.name, options.markdown)
    return AblateResult(
        comparison, progress_of(study, records, runs), tuple(files), tuple(failures)
    )


def _run(study: Study, records: Records, options: AblateOptions, folder: Path) -> list[Failure]:
    require_one_process("ablate")
    chosen = _chosen(study, options.only)
    left = [run for run in chosen if not records.is_done(*run)]
    if not left:
        return []
    place = find_place(study, options, folder)
    records.require_data(place.data, place.pretrained_sha256)
    jobs = [Job.of(study, study.arm(arm), seed, place) for arm, seed in left]
    place.runs.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        job.write()
    return run_jobs(jobs, options.jobs)


def _chosen(study: Study, only: Sequence[str]) -> list[tuple[str, int]]:
    """Return the runs to make, in order. Raises `ConfigError` for one that the study lacks."""
    wanted = [run for word in only if (run := run_name(word))]
    unknown = [run for run in wanted if run not in study.runs]
    if unknown:
        known = [f"{arm}:{seed}" for arm, seed in study.runs]
        names = ", ".join(
            f"{arm}:{seed}{did_you_mean(f'{arm}:{seed}', known)}" for arm, seed in unknown
        )
        raise ConfigError(f"--only names runs that {study.path} does not have: {names}")
    return [run for run in study.runs if not wanted or run in wanted]


def _figures(comparison: Comparison) -> dict[str, Any]:
    return comparison.as_json() | {"contrasts": [one.as_json() for one in contrasts(comparison)]}


def _write(comparison: Comparison, out: Path, markdown: Path | None) -> list[Path]:
    text = table(comparison)
    if not comparison.records.runs:
        if markdown:
            renew_section(markdown, comparison.study.name, text)
        return [markdown] if markdown else []
    write_text(out / "table.md", text + "\n")
    write_json(out / "figures.json", _figures(comparison))
    files = [out / "table.md", out / "figures.json", *draw_plots(comparison, out)]
    if markdown:
        renew_section(markdown, comparison.study.name, text)
        shown = markdown.read_text(encoding="utf-8")
        names = [
            path.name for path in files if path.suffix == ".png" and f"images/{path.name}" in shown
        ]
        files += [markdown, *draw_plots(comparison, markdown.parent / "images", only=names)]
    return files
