"""The process of one run: ``python -m yolo_ema.studies.child train|measure JOB.json``.

It ends cleanly when its starter is gone: the starter holds the other end of its standard input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from yolo_ema.errors import ConfigError, YoloEmaError
from yolo_ema.io.atomic_files import locked

__all__ = ["main"]

STAGES = ("train", "measure")
_INTERRUPTED = 130


def main(words: Sequence[str]) -> int:
    """Do one stage of a run and return the exit code of `yolo_ema.errors`."""
    stage, file = words
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    try:
        from yolo_ema.studies import measuring, runs
        from yolo_ema.studies.jobs import Job

        job = Job.read(Path(file))
        lock = job.beside(".lock")
        with locked(lock, lambda: _refuse(lock)):
            {"train": runs.train_run, "measure": measuring.measure_run}[stage](job)
    except YoloEmaError as error:
        print(f"yolo-ema: error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return _INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _refuse(lock: Path) -> NoReturn:
    raise ConfigError(f"another process is at this run ({lock} is locked); wait for it, or end it")


def _end_with_the_starter() -> None:
    with contextlib.suppress(OSError):
        while os.read(
            0, 1024
        ):  # not by sys.stdin, whose lock a waiting thread would hold while Python ends
            pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
