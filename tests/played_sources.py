"""A live source whose connections do exactly what a test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count

import numpy as np

from yolo_ema.media.sources.live_reader import LiveReader
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.source import Source

QUICK = NetworkOptions(
    open_timeout_s=0.5, read_timeout_s=0.5, stale_after_s=0.3, first_wait_s=0.05, longest_wait_s=0.2
)


def image(number: int) -> np.ndarray:
    return np.full((24, 32, 3), (number * 37) % 256, np.uint8)


def forever() -> None:
    """A step that takes until the connection is closed."""


class Played:
    """A connection that plays a list of steps: an image, a pause in seconds, an error, or a
    function to call.
    """

    def __init__(
        self, steps: object, *, opening: Callable[[], None] | None = None, finite: bool = False
    ) -> None:
        self.frame_rate: Fraction | None = Fraction(25)
        self.finite, self.damaged, self.closed = finite, 0, threading.Event()
        self.notes: list[str] = []
        self.missing_frames = 0
        self.pixel_aspect: Fraction | None = None
        self._steps, self._opening = steps, opening

    def open(self) -> None:
        if self._opening is not None:
            self._opening()

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        for step in self._steps:
            if isinstance(step, np.ndarray):
                yield step, None
            elif isinstance(step, tuple):
                yield step
            elif isinstance(step, float):
                time.sleep(step)
            elif isinstance(step, Exception):
                raise step
            elif step is forever:
                self.closed.wait()
            else:
                step()

    def close(self) -> None:
        self.closed.set()


@dataclass(frozen=True)
class PlayedSource(Source):
    connections: Iterator[Played] = field(repr=False)
    network: NetworkOptions = QUICK
    name: str = "cam"
    stem: str = "cam"
    is_video: bool = True
    is_live: bool = True

    def open(self) -> LiveReader:
        return LiveReader(self, lambda: next(self.connections), self.network)


def source(
    *connections: Played, network: NetworkOptions = QUICK, name: str = "cam"
) -> PlayedSource:
    return PlayedSource(iter(connections), network, name, name)


def endless(pause_s: float = 0.01) -> Iterator[object]:
    for number in count():
        yield image(number)
        yield pause_s
