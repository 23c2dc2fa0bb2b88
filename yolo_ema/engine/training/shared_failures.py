"""How the failure of one process ends all processes of a training, with its reason.

A process that waits for the others inside gloo or NCCL learns of nothing else. So the first one to
fail leaves its reason in the store that all have met at, and each has a thread that looks there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from torch import distributed as dist

import yolo_ema.errors
from yolo_ema.engine.training.launch import Launch
from yolo_ema.errors import MachineError, YoloEmaError
from yolo_ema.io.signals import signals_handled
from yolo_ema.io.text_files import printable

_KEY = "failure"
_LONGEST = 4000  # characters of a reason
_LOOK_SECONDS = 0.5
_GRACE_SECONDS = {"gloo": 15.0}
"""How long a process may take to end by itself after another has failed. gloo raises an error in
it; NCCL aborts it in its own words, so that there is nothing to wait for.
"""

_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "gloo", "Broken pipe")


class SharedFailures:
    """The failures of a training's processes, as one of them tells and learns them.

    Args:
        launch: this process's place among them.
        store: where the first failure is left; None where whoever made the group ends all its
            processes when one fails.
        watched: another connection to it, for the thread.

    Attributes:
        before_exit: called where the thread has to end this process, which is stuck; returns what
            its message says besides.
    """

    def __init__(
        self, launch: Launch, store: dist.Store | None, watched: dist.Store | None
    ) -> None:
        self.before_exit: Callable[[], str] = str
        self._launch, self._store, self._watched = launch, store, watched
        self._closed = threading.Event()
        self._known: YoloEmaError | None = None
        self._is_ending = False
        if watched is not None:
            threading.Thread(target=self._watch, name="failures of others", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Tell the others why this process fails inside the block; where another has failed first,
        fail with its reason, since this one may only suffer from it.

        Raises:
            YoloEmaError: another process failed.
            SystemExit: the same, in a process whose node has another one that says so.
        """
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if self._is_ending:  # an inner block has seen to it
                raise
            self._is_ending = True
            if first := self._known or self._first_of_another(self._store):
                if self._launch.local_rank:
                    raise SystemExit(first.exit_code) from error
                raise first from error
            if isinstance(error, KeyboardInterrupt):
                raise
            clear = _lost_peer(error)
            self._tell(clear or error)
            if clear:
                raise clear from error
            raise

    def _tell(self, error: Exception) -> None:
        if self._store is None:
            return
        is_ours = isinstance(error, YoloEmaError)
        content = {
            "rank": self._launch.rank,
            "host": socket.gethostname(),
            "kind": type(error).__name__,
            "text": (str(error) if is_ours else f"{type(error).__name__}: {error}")[:_LONGEST],
        }
        with contextlib.suppress(RuntimeError):  # the store may be what is gone
            self._store.compare_set(_KEY, "", json.dumps(content))
            # What keeps the store may end with this process: let the others look before.
            time.sleep(2 * _LOOK_SECONDS)

    def sigterm_interrupts(self) -> contextlib.AbstractContextManager[None]:
        """Take SIGTERM, by which a launcher ends its processes, as an interruption, so that `told`
        says why; where this process is ending already, ignore it.
        """

        def interrupt(_number: int, _frame: Any) -> None:
            if not self._is_ending:
                raise KeyboardInterrupt

        return signals_handled(interrupt, signal.SIGTERM)

    def _first_of_another(self, store: dist.Store | None) -> YoloEmaError | None:
        """Return the first failure, where it is not this process's own."""
        try:
            if store is None or not store.check([_KEY]):
                return None
            content = json.loads(store.get(_KEY))
        except RuntimeError:
            return None  # the store is gone
        if content["rank"] == self._launch.rank:
            return None
        known = getattr(yolo_ema.errors, content["kind"], None)
        is_ours = isinstance(known, type) and issubclass(known, YoloEmaError)
        kind: type[YoloEmaError] = known if is_ours else MachineError  # type: ignore[assignment]
        return kind(f"process {content['rank']} on {content['host']}: {content['text']}")

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            if failure := self._first_of_another(self._watched):
                self._known = failure
                self._end(failure)
                return

    def _end(self, failure: YoloEmaError) -> None:
        """End this process, unless it notices by itself."""
        backend = dist.get_backend() if dist.is_initialized() else "gloo"
        if self._closed.wait(_GRACE_SECONDS.get(backend, 0.0)):
            return
        besides = ""
        with contextlib.suppress(Exception):  # whatever it was, the process has to end
            besides = self.before_exit()
        if not self._launch.local_rank:
            message = printable(f"{failure}{besides}")
            print(f"yolo-ema: error: {message}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(failure.exit_code)


def _lost_peer(error: BaseException) -> MachineError | None:
    """Return what an error of gloo or NCCL means where nobody told a reason; None for others."""
    if isinstance(error, YoloEmaError) or not isinstance(error, RuntimeError):
        return None
    if not isinstance(error, dist.DistError) and not any(map(str(error).__contains__, _LOST_PEER)):
        return None
    row = str(error).strip().partition("\n")[0][:300]
    return MachineError(
        f"another process of this training ended without reporting an error: it was killed, or its "
        f"machine cannot be reached ({row})"
    )
