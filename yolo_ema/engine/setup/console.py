"""Keeps stdout for results: what Ultralytics logs and draws goes to stderr."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from ultralytics.utils import LOGGER


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Send Ultralytics' log, progress bars and loggers' prints to stderr inside the block."""
    handlers = [
        handler for handler in LOGGER.handlers if isinstance(handler, logging.StreamHandler)
    ]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
