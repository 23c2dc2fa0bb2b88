"""Runs what a study still lacks, each run in processes of its own, so that one that fails does not
end the rest.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from yolo_ema.studies.child import STAGES
from yolo_ema.studies.jobs import Job

__all__ = ["Failure", "run_jobs"]

_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0
_LAST_LINES = 3


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run that did not come to its end: what it said last, and where the rest of it stands."""

    run: str
    stage: str
    said: str
    log: Path

    def as_text(self) -> str:
        """Return it in a line."""
        return f"{self.run}: {self.stage} failed: {self.said} (all of it in {self.log})"


@dataclasses.dataclass
class _Running:
    job: Job
    name: str
    stages: list[str]
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    since: float


def run_jobs(jobs: Sequence[Job], at_once: int) -> list[Failure]:
    """Run jobs in order, ``at_once`` at a time, and return those that failed.

    An interruption ends the processes, lets them say where they stopped, and goes on to the caller.
    """
    waiting = list(jobs)
    running: list[_Running] = []
    failures: list[Failure] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running.append(
                    _start(job, list(STAGES), f"{len(jobs) - len(waiting)} of {len(jobs)}")
                )
            time.sleep(_POLL_SECONDS)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                one.process.communicate()  # closes its standard input
                stage, code = one.stages.pop(0), one.process.returncode
                if code:
                    failures.append(Failure(one.name, stage, _last_words(one, code), one.log))
                    _say(failures[-1].as_text())
                elif one.stages:
                    running.append(
                        _start(one.job, one.stages, f"after {_hours(time.monotonic() - one.since)}")
                    )
                else:
                    _say(f"{one.name}: done, record {one.job.record}")
    finally:
        _stop(running)
    return failures


def _start(job: Job, stages: list[str], note: str) -> _Running:
    name = Path(job.folder).name
    log = job.beside(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    start = log.stat().st_size if log.is_file() else 0
    _say(f"{name}: {stages[0]} ({note}), log {log}")
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", "yolo_ema.studies.child", stages[0], str(job.file)],
            stdin=subprocess.PIPE,  # its end tells the process that this one is gone
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C comes here alone, and is passed on once
        )
    return _Running(job, name, stages, process, log, start, time.monotonic())


def _stop(running: Sequence[_Running]) -> None:
    for one in running:
        one.process.terminate()
    for one in running:
        try:
            one.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            one.process.kill()
        one.process.communicate()
        _say(f"{one.name}: stopped; the same command goes on with it")


def _last_words(one: _Running, code: int) -> str:
    with one.log.open("rb") as file:
        file.seek(one.log_start)
        text = file.read().decode("utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [
        line.removeprefix("yolo-ema: error: ")
        for line in lines
        if line.startswith("yolo-ema: error: ")
    ]
    said = errors[-1] if errors else " / ".join(lines[-_LAST_LINES:])
    return f"{said} (exit code {code})"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M')} {text}", file=sys.stderr, flush=True)  # noqa: T201 - stdout is for the result
