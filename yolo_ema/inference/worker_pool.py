"""Several images at once on a CPU, each by a worker with a share of the threads.

Threads that share one image wait for each other after every layer, on a busy machine for the one
that had to give way; workers with images of their own wait for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from yolo_ema.engine.setup.environment import use_all_cores

__all__ = ["SideBySide"]

_MOST_WORKERS = 8
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class SideBySide:
    """A pool of workers.

    Args:
        threads: how many threads they share, 2 or more.

    Attributes:
        workers: how many there are.
        threads_each: how many threads each may use for one image.
    """

    def __init__(self, threads: int) -> None:
        self.workers = min(threads, _MOST_WORKERS)
        self.threads_each = threads // self.workers
        self._pool = ThreadPoolExecutor(
            self.workers,
            "yolo-ema-image",
            initializer=torch.set_num_threads,
            initargs=(self.threads_each,),
        )

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        """Return what the function makes of each item, in their order."""
        try:
            return list(self._pool.map(function, items))
        finally:
            # a worker that started set torch's number of threads for threads yet to come, too
            use_all_cores()
