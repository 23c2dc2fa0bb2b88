"""One connection to a camera or stream, from the attempt to open it to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np

__all__ = ["Connection", "ConnectionThread"]


class Connection(Protocol):
    """One connection to a camera or stream; used by one thread, but for `close`."""

    frame_rate: Fraction | None
    finite: bool
    """Whether it turned out to be a recording behind an address: all of it is read, and its end is
    no trouble.
    """
    damaged: int

    def open(self) -> None:
        """Connect. Raises `SourceError`, or `SourceRefusedError` where another try is useless."""

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield images, (H, W, 3) uint8 BGR, each with its time in seconds where the source says
        it. Raises `SourceError`.
        """

    def close(self) -> None:
        """End soon whatever is going on; called from any thread, and more than once."""


class ConnectionThread(threading.Thread):
    """One connection, from the try to open it to its end."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        deliver: Callable[[ConnectionThread, np.ndarray, float | None], None],
    ) -> None:
        super().__init__(name=f"reads {name}", daemon=True)
        self.connection = connection
        self.began_at = time.monotonic()
        self.alive_at = self.began_at  # when it connected, or brought its last frame
        self.connected = self.delivering = self.abandoned = False
        self.frames = 0
        self.trouble: Exception | None = None
        self.over = threading.Event()
        self._deliver = deliver

    def run(self) -> None:
        try:
            self.connection.open()
            self.alive_at, self.connected = time.monotonic(), True
            for image_bgr, time_s in self.connection.frames():
                if self.abandoned:
                    return
                self.delivering = True
                self._deliver(self, image_bgr, time_s)
                self.frames += 1
                self.alive_at, self.delivering = time.monotonic(), False
        # whatever it is, it must reach the one who watches: this thread has no other listener
        except Exception as error:
            self.trouble = error
        finally:
            self.connection.close()
            self.over.set()

    def abandon(self) -> None:
        """Let it end by itself; nothing of it counts any more."""
        self.abandoned = True
        self.connection.close()
