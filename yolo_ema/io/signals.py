"""Signal handlers for as long as a block runs, and a signal that they take on every system."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def signals_handled(
    handler: Callable[[int, FrameType | None], None], *numbers: int
) -> Iterator[None]:
    """Handle signals by ``handler`` while the block runs; outside the main thread, which alone may
    set handlers, change nothing.
    """
    with contextlib.ExitStack() as restored:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                before = signal.signal(number, handler)  # None: not set by Python
                restored.callback(signal.signal, number, before or signal.SIG_DFL)
        yield


def send_sigterm_here() -> None:
    """Send SIGTERM to this process, from any of its threads, for its handler to take."""
    if sys.platform == "win32":  # where `os.kill` ends the process and asks no handler
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
