"""A thread that draws and writes while the next frame goes through the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_AHEAD = 4  # items that may wait
_Item = TypeVar("_Item")


class OutputThread(Generic[_Item]):
    """Calls ``work`` on one item after the other, in the order they were put, in its own thread.

    Drawing, encoding and writing release Python's lock most of the time, so they overlap with
    inference. At most `_AHEAD` items wait: a slow disk slows detection down instead of filling the
    memory.

    An error in ``work`` is raised by the next `put` or at the end of the ``with`` block; items put
    after it are dropped.
    """

    def __init__(
        self,
        work: Callable[[_Item], None],
        *,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; the thread starts with the ``with`` block.

        Args:
            work: what is done with an item.
            on_error: called once, in the output thread, when ``work`` has failed: the producer may
                be waiting for its next item.
        """
        self._work, self._on_error = work, on_error
        self._items: queue.Queue[_Item | None] = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def __enter__(self) -> OutputThread[_Item]:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._items.put(None)  # after all that waits
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, item: _Item) -> None:
        """Hand over an item; blocks while `_AHEAD` items wait. Raises what ``work`` raised."""
        self._raise()
        self._items.put(item)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:
                    self._error = error
                    self._on_error()
