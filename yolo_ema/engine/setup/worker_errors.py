"""Carries the error of a training process to the command that started it, which would see an exit
code alone.

A full disk may be that error, so that the room for telling it is taken before the processes start.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yolo_ema.errors
from yolo_ema.errors import YoloEmaError

__all__ = ["place_for_errors", "told_to_starter"]

_VARIABLE = "YOLO_EMA_WORKER_ERROR"
_ROOM = 4096  # bytes


class ErrorPlace:
    """Where a worker leaves its error.

    Attributes:
        environment: what the workers' environment needs besides.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {_VARIABLE: str(file)}

    def error(self) -> YoloEmaError | None:
        """Return the error that a worker told of, or None where none did."""
        kind, _, message = (
            self._file.read_bytes().rstrip(b"\0 ").decode("utf-8", errors="replace").partition("\n")
        )
        known = getattr(yolo_ema.errors, kind, None) if kind in yolo_ema.errors.__all__ else None
        return (
            known(message) if isinstance(known, type) and issubclass(known, YoloEmaError) else None
        )


@contextlib.contextmanager
def place_for_errors() -> Iterator[ErrorPlace]:
    """Yield a place for the workers' errors, its room on the disk taken already."""
    with tempfile.TemporaryDirectory(prefix="yolo-ema-") as folder:
        file = Path(folder) / "error"
        file.write_bytes(b" " * _ROOM)
        yield ErrorPlace(file)


@contextlib.contextmanager
def told_to_starter() -> Iterator[None]:
    """In a worker, leave an error of this project for the starter and end the process; elsewhere do
    nothing.

    The first worker's error counts: the others fail since that one is gone.
    """
    try:
        yield
    except YoloEmaError as error:
        file = os.environ.get(_VARIABLE)
        if not file:
            raise
        _tell(Path(file), error)
        raise SystemExit(error.exit_code) from error


def _tell(file: Path, error: YoloEmaError) -> None:
    text = f"{type(error).__name__}\n{error}".encode()[:_ROOM]
    with (
        contextlib.suppress(OSError),
        file.open("r+b") as told,
    ):  # the exit code says something still
        if not told.read(_ROOM).strip(b" "):
            told.seek(0)
            told.write(text)
