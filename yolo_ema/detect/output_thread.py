"""A thread that draws and writes while the next frame goes through the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["OutputThread"]

_Item = TypeVar("_Item")


class OutputThread(Generic[_Item]):
    """Calls ``work`` on one item after the other, in the order they were put, in a thread of its
    own.

    Drawing, encoding and writing hold Python's lock for little of their time, so that they overlap
    with inference. At most ``ahead`` items wait: memory is bounded, and a slow disk slows detection
    in place of filling the memory.

    An error of ``work`` comes out of the next `put` or of the end of the ``with`` block; what was
    put after it is not worked on.
    """

    def __init__(
        self,
        work: Callable[[_Item], None],
        *,
        ahead: int = 4,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; the thread starts with the ``with`` block.

        Args:
            work: what is done with an item.
            ahead: how many items may wait.
            on_error: called once, in this thread, when ``work`` has failed: whoever puts items may
                be waiting for the next one.
        """
        self._work, self._on_error = work, on_error
        self._items: queue.Queue[_Item | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def __enter__(self) -> OutputThread[_Item]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._items.put(None)  # after all that waits
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, item: _Item) -> None:
        """Hand an item over, waiting while too many wait already. Raises what ``work`` raised
        before.
        """
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
