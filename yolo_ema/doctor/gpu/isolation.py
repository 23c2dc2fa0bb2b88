"""Runs a check in a fork of this process: one that crashes, hangs or exhausts a GPU's memory ends
by itself. This process must not have touched a GPU, which a fork could not use then.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_ema.doctor.gpu.place import CannotRunError, Finding
from yolo_ema.doctor.gpu.result import COULD_NOT_RUN, FAILED, PASSED, SKIPPED, Outcome
from yolo_ema.doctor.row import private
from yolo_ema.errors import MissingPackageError

LOG = "log.txt"

_ANSWER = "answer.json"
_POLL_S = 0.02


def run_isolated(
    name: str, check: Callable[[], Finding], *, folder: Path, limit_s: float
) -> Outcome:
    """Run a check and return how it ended, whatever it does.

    The check runs in ``folder``, which exists and gets its log and its answer. After ``limit_s`` it
    is ended, with all that it started.
    """
    started = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _live(check, folder)
    try:
        status = _waited(child, started + limit_s)
    except BaseException:  # an interruption ends the check, too
        _end(child)
        raise
    seconds = time.monotonic() - started
    if status is None:
        _end(child)
        return Outcome(name, COULD_NOT_RUN, seconds, f"ended after its limit of {limit_s:.0f} s")
    answer = _answer(folder)
    if answer is None:
        ending = _how(os.waitstatus_to_exitcode(status))
        return Outcome(name, FAILED, seconds, private(f"{ending}: {_last_line(folder)}"))
    return Outcome(name, answer["status"], seconds, answer["reason"], answer["measured"])


def _live(check: Callable[[], Finding], folder: Path) -> None:
    """Be the child: write the answer, and end without what the parent has to do at its end."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.stdout = sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        answer = _judged(check)
        part = folder / f"{_ANSWER}.part"
        part.write_text(json.dumps(answer), encoding="utf-8")
        part.rename(folder / _ANSWER)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _judged(check: Callable[[], Finding]) -> dict[str, Any]:
    try:
        finding = check()
    except (CannotRunError, MissingPackageError) as error:
        return {"status": SKIPPED, "reason": private(str(error)), "measured": {}}
    except Exception as error:
        traceback.print_exc()
        lacks_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        status = COULD_NOT_RUN if lacks_memory else FAILED
        reason = private(f"{type(error).__name__}: {error}")
        return {"status": status, "reason": reason, "measured": {}}
    measured = {
        name: _plain(value) if isinstance(value, float) else value
        for name, value in finding.measured.items()
    }
    status = FAILED if finding.problems else PASSED
    return {"status": status, "reason": "; ".join(finding.problems), "measured": measured}


def _plain(value: float) -> float | None:
    """Return a number as JSON can hold it, with the digits that mean something."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _waited(child: int, deadline: float) -> int | None:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)


def _end(child: int) -> None:
    """Kill a check that still runs, and what it started."""
    for kill in (os.killpg, os.kill):  # the group is not there before the child has made it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def _answer(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / _ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _how(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process was ended by signal {-code}"


def _last_line(folder: Path) -> str:
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
