"""Several images at once on a CPU, each by a worker with a share of the threads.

Threads that share one image wait for each other after every layer, on a busy machine for the one
that had to give way; workers with images of their own wait for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_MOST_WORKERS = 8
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class WorkerPool:
    """A pool of workers.

    Args:
        threads: how many threads they share, 2 or more.
        on_start: called in each worker when it starts, with its number of threads.
        after_map: called after each `map`.

    Attributes:
        workers: how many there are.
        threads_each: how many threads each may use for one image.
    """

    def __init__(
        self,
        threads: int,
        *,
        on_start: Callable[[int], object] = lambda _: None,
        after_map: Callable[[], object] = lambda: None,
    ) -> None:
        self.workers = min(threads, _MOST_WORKERS)
        self.threads_each = threads // self.workers
        self._after_map = after_map
        self._pool = ThreadPoolExecutor(
            self.workers, "yolo-ema-image", initializer=on_start, initargs=(self.threads_each,)
        )

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        """Return what the function makes of each item, in their order."""
        try:
            return list(self._pool.map(function, items))
        finally:
            self._after_map()
