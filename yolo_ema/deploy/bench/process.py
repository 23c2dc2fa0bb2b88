"""A runtime's process as its parent sees it: to each question an answer, or why there is none."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from typing import Any

from yolo_ema.errors import MachineError
from yolo_ema.io.child_process import module_command
from yolo_ema.io.scratch_folders import temp_folder_named

_CHILD = "yolo_ema.deploy.bench.child"
_GRACE_S = 10.0
_LOOK_S = 0.2
"""So often a wait is broken off: on Windows Ctrl-C does not reach a long one."""


class RuntimeProcess:
    """A process that holds one runtime; use it as a context manager.

    Args:
        threads: number of threads that it may compute with; None for its own choice.
        limit_s: how long an answer may take, in seconds.
    """

    def __init__(self, *, threads: int | None, limit_s: float) -> None:
        environment = dict(os.environ)
        if threads is not None:
            environment |= {"YOLO_EMA_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self._limit_s = limit_s
        with temp_folder_named():
            self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
            module_command(_CHILD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> RuntimeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Put a question and wait for its answer.

        Raises:
            MachineError: the runtime fails, the process died, or it does not answer in time and is
                ended.
        """
        orders = self._process.stdin
        if orders is None or self._process.poll() is not None:
            raise MachineError(self._why_it_ended())
        try:
            orders.write(json.dumps({"do": do, **order}) + "\n")
            orders.flush()
            line = self._next_answer()
        except queue.Empty:
            self.close(kill=True)
            raise MachineError(
                f"no answer within {self._limit_s:g} s; it was ended (--time-limit)"
            ) from None
        except OSError:
            line = ""
        if not line:
            raise MachineError(self._why_it_ended())
        answer = json.loads(line)
        if "error" in answer:
            raise MachineError(answer["error"])
        return answer

    def _next_answer(self) -> str:
        """Return the next line. Raises `queue.Empty` where none comes in time."""
        until = time.monotonic() + self._limit_s
        while True:
            left_s = until - time.monotonic()
            try:
                return self._answers.get(timeout=max(0.0, min(_LOOK_S, left_s)))
            except queue.Empty:
                if left_s <= _LOOK_S:
                    raise

    def close(self, *, kill: bool = False) -> None:
        """End the process by closing its standard input, and by force if that does not help."""
        if kill:
            self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._words.close()

    def _read(self) -> None:
        """Pass on answers, a line each, and an empty line at the end."""
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put("")

    def _why_it_ended(self) -> str:
        """Return how the process died, with its last line of output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE_S)
        code = self._process.returncode
        ending = f"the process ended with code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                ending = f"the process was ended by {signal.Signals(-code).name}"
        last = ""
        if not self._words.closed:
            self._words.seek(0)
            lines = self._words.read().decode(errors="replace").strip().splitlines()
            last = f": {lines[-1][:300]}" if lines else ""
        return ending + last
