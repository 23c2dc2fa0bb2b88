"""The processes of a run on several GPUs, and the way of their errors to the command that started
them, which would see an exit code alone.

A full disk may be that error, so the room for telling it is taken before the processes start.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yolo_ema.errors
from yolo_ema.errors import MachineError, YoloEmaError

_VARIABLE = "YOLO_EMA_WORKER_ERROR"
_ROOM = 4096  # bytes
_STOP_SECONDS = 30.0


class ErrorFile:
    """Where a worker leaves its error.

    Attributes:
        environment: what the workers' environment needs besides.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {_VARIABLE: str(file)}

    def error(self) -> YoloEmaError | None:
        """Return the error that a worker reported, or None where none did."""
        text = self._file.read_bytes().rstrip(b"\0 ").decode("utf-8", errors="replace")
        kind, _, message = text.partition("\n")
        known = getattr(yolo_ema.errors, kind, None) if kind in yolo_ema.errors.__all__ else None
        if isinstance(known, type) and issubclass(known, YoloEmaError):
            return known(message)
        return None


@contextlib.contextmanager
def error_file() -> Iterator[ErrorFile]:
    """Yield a place for the workers' errors, its room on the disk taken already."""
    with tempfile.TemporaryDirectory(prefix="yolo-ema-") as folder:
        file = Path(folder) / "error"
        file.write_bytes(b" " * _ROOM)
        yield ErrorFile(file)


@contextlib.contextmanager
def report_to_starter() -> Iterator[None]:
    """In a worker, leave an error of this project for the starter and end the process; elsewhere do
    nothing.

    The first worker's error counts: the others fail because that one is gone.
    """
    try:
        yield
    except YoloEmaError as error:
        file = os.environ.get(_VARIABLE)
        if not file:
            raise
        _write(Path(file), error)
        raise SystemExit(error.exit_code) from error


def _write(path: Path, error: YoloEmaError) -> None:
    text = f"{type(error).__name__}\n{error}".encode()[:_ROOM]
    # Where it cannot be written, the exit code still says something.
    with contextlib.suppress(OSError), path.open("r+b") as file:
        if not file.read(_ROOM).strip(b" "):
            file.seek(0)
            file.write(text)


def run_workers(command: list[str]) -> None:
    """Run the launcher of the workers; an interruption ends it and them.

    Raises:
        YoloEmaError: what a worker reported.
        MachineError: a worker failed otherwise; it has said why on stderr.
    """
    with error_file() as reported:
        environment = {**os.environ, **reported.environment}
        process = subprocess.Popen(command, stdout=sys.stderr, env=environment)  # noqa: S603 - Ultralytics' own command
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if code:
            raise reported.error() or MachineError(
                f"a training process on one of the GPUs failed (exit code {code}); see its message "
                f"above"
            )
