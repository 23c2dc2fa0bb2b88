"""One connection to a camera or stream, from the attempt to open it to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np


class Connection(Protocol):
    """One connection to a camera or stream; used by one thread, except for `close`.

    Attributes:
        frame_rate: frames per second; None if unknown.
        finite: whether it turned out to be a recording behind an address: all of it is read, and
            its end is expected.
    """

    frame_rate: Fraction | None
    finite: bool

    @property
    def damaged(self) -> int:
        """How many packets or frames were damaged and skipped, so far."""
        ...

    @property
    def missing_frames(self) -> int:
        """How many frames a recording states and does not hold, known at its end."""
        ...

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel divided by its height; None if square or not stated."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the frames so far."""
        ...

    def open(self) -> None:
        """Connect. Raises `SourceError`, or `SourceRefusedError` if retrying is useless."""

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield images, (H, W, 3) uint8 BGR, each with its time in seconds if the source states it.
        Raises `SourceError`.
        """

    def close(self) -> None:
        """End soon whatever is going on; called from any thread, and more than once."""


class ConnectionThread(threading.Thread):
    """Opens one connection and passes its frames on until it ends.

    Attributes:
        alive_at: when it connected, or brought its last frame.
        delivering: whether a frame is being handed over right now.
        frames: how many it brought.
        trouble: what ended it; None after a regular end.
        over: set at its end.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        deliver: Callable[[ConnectionThread, np.ndarray, float | None], None],
    ) -> None:
        super().__init__(name=f"reads {name}", daemon=True)
        self.connection = connection
        self.began_at = time.monotonic()
        self.alive_at = self.began_at
        self.connected = self.delivering = self.abandoned = False
        self.frames = 0
        self.trouble: Exception | None = None
        self.over = threading.Event()
        self._deliver = deliver

    def run(self) -> None:
        """Connect and read; called by `start`."""
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
        # Whatever it is, it must reach the watching thread: nobody else listens to this one.
        except Exception as error:
            self.trouble = error
        finally:
            self.connection.close()
            self.over.set()

    def abandon(self) -> None:
        """Let it end on its own; nothing that it brings counts any more."""
        self.abandoned = True
        self.connection.close()
