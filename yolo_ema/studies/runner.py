"""Both ends of a run's processes: what starts them one after the other, and what they do.

Each stage of a run is a process of its own, ``yolo_ema.studies.runner train|measure JOB.json``, so
that one that fails does not end the rest. It ends cleanly when its starter is gone, which holds the
other end of its standard input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from yolo_ema.errors import ConfigError, YoloEmaError
from yolo_ema.io.atomic_files import locked
from yolo_ema.io.child_process import module_command
from yolo_ema.io.signals import send_sigterm_here

if TYPE_CHECKING:
    from yolo_ema.studies.jobs import Job

STAGES = {
    "detect": "yolo_ema.studies.stages",
    "classify": "yolo_ema.studies.classify_stages",
}
"""By task, the module of a run's stages; they bring torch and Ultralytics or timm."""

_PROGRAM = "yolo_ema.studies.runner"
_STAGES = ("train", "measure")
_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0
_LAST_LINES = 3
_INTERRUPTED = 130
_ERROR = "yolo-ema: error: "


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run that did not finish: its last words, and the log that holds the rest."""

    run: str
    stage: str
    said: str
    log: Path

    def as_text(self) -> str:
        """Return it in a line."""
        return f"{self.run}: {self.stage} failed: {self.said} (full log: {self.log})"


@dataclasses.dataclass
class _Running:
    job: Job
    name: str
    stages: list[str]
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    since: float


def duration(seconds: float) -> str:
    """Return a time in hours, or in minutes where it is less than one."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def run_jobs(jobs: Sequence[Job], at_once: int) -> list[Failure]:
    """Run jobs in order, ``at_once`` at a time, and return those that failed.

    An interruption stops the processes, reports where they stopped, and goes on to the caller.
    """
    waiting = list(jobs)
    running: list[_Running] = []
    failures: list[Failure] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                note = f"{len(jobs) - len(waiting)} of {len(jobs)}"
                running.append(_start(job, list(_STAGES), note))
            time.sleep(_POLL_SECONDS)
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                run.process.communicate()  # closes its standard input
                stage, code = run.stages.pop(0), run.process.returncode
                if code:
                    failures.append(Failure(run.name, stage, _last_words(run, code), run.log))
                    _say(failures[-1].as_text())
                elif run.stages:
                    took = duration(time.monotonic() - run.since)
                    running.append(_start(run.job, run.stages, f"after {took}"))
                else:
                    _say(f"{run.name}: done, record {run.job.record}")
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
            module_command(_PROGRAM, stages[0], str(job.file)),
            stdin=subprocess.PIPE,  # its end tells the process that this one is gone
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # Ctrl-C comes here alone, and is passed on once.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows
        )
    return _Running(job, name, stages, process, log, start, time.monotonic())


def _stop(running: Sequence[_Running]) -> None:
    for run in running:  # not by a signal, which a process on Windows cannot handle
        if run.process.stdin is not None:
            run.process.stdin.close()
    for run in running:
        try:
            run.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            run.process.kill()
        run.process.communicate()
        _say(f"{run.name}: stopped; the same command continues it")


def _last_words(run: _Running, code: int) -> str:
    with run.log.open("rb") as file:
        file.seek(run.log_start)
        text = file.read().decode("utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    said = errors[-1] if errors else " / ".join(lines[-_LAST_LINES:])
    return f"{said} (exit code {code})"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M')} {text}", file=sys.stderr, flush=True)  # noqa: T201 - stdout is for the result


def _run_stage(stage: str, file: str) -> int:
    """Do one stage of a run in this process and return the exit code of `yolo_ema.errors`."""
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    try:
        # Late, since they bring torch and Ultralytics.
        from yolo_ema.studies.jobs import Job

        job = Job.read(Path(file))
        stages = importlib.import_module(STAGES[job.task])
        lock = job.beside(".lock")
        with locked(lock, lambda: _refuse(lock)):
            {"train": stages.train_run, "measure": stages.measure_run}[stage](job)
    except YoloEmaError as error:
        print(f"{_ERROR}{error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return _INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _refuse(lock: Path) -> NoReturn:
    raise ConfigError(
        f"another process is working on this run ({lock} is locked); wait for it, or end it"
    )


def _end_with_the_starter() -> None:
    # Not by sys.stdin, whose lock a waiting thread would hold while Python ends.
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    send_sigterm_here()


if __name__ == "__main__":
    raise SystemExit(_run_stage(*sys.argv[1:]))
