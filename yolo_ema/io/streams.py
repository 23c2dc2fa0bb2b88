"""A standard error whose reader may go away before the work is done."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def stderr_may_close() -> Iterator[None]:
    """Let no message end the work for want of a reader while the block runs, whoever writes it:
    ourselves, progress bars, libraries. Once its reader is gone, what is written goes nowhere.
    """
    told = _Told(sys.stderr)
    with contextlib.redirect_stderr(told):
        try:
            yield
        finally:
            told.end()


class _Told:
    """A stream that raises nothing where it cannot be written to."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._unheard():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        with self._unheard():
            self._stream.writelines(lines)

    def flush(self) -> None:
        with self._unheard():
            self._stream.flush()

    def end(self) -> None:
        """Leave nothing in the buffer at which Python's own end would fail."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            let_go(self._stream)

    @contextlib.contextmanager
    def _unheard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:  # a disk may have space again
                let_go(self._stream)


def let_go(stream: Any) -> None:
    """Have all that is written to a stream's file descriptor from now on, and what is left in its
    buffer, go nowhere.
    """
    with contextlib.suppress(OSError, ValueError):  # it may have none, as where it is captured
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
