"""Runs jobs in processes of this machine, as many as help."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from yolo_ema import errors
from yolo_ema.archive.job import FAILED, UNDONE, Order, Outcome
from yolo_ema.archive.places import source_above
from yolo_ema.archive.worker_process import as_order
from yolo_ema.errors import MachineError
from yolo_ema.io.child_process import module_command
from yolo_ema.io.devices import parse_device
from yolo_ema.io.machine import available_memory_bytes, usable_cores
from yolo_ema.io.scratch_folders import temp_folder_named
from yolo_ema.options.archive import ArchiveOptions

_CHILD = "yolo_ema.archive.worker_process"
_GRACE_S = 10.0
_LOOK_S = 0.2
"""So often a wait is broken off: on Windows Ctrl-C does not reach one without an end."""
_MORE_UNDONE = 4
"""A source is given up after so many more undone jobs in a row than there are workers."""

_WORKER_BYTES = 3 << 29
"""1.5 GB: torch, weights, and a few decoded frames of 4K."""
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def run_locally(
    options: ArchiveOptions, orders: Iterable[Order], count: int
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of jobs as they come.

    A job whose process dies is given to another one once. Of a source of which several jobs in a
    row are ``undone`` nothing more is begun, since the next would hardly fare better: a full disk
    soon ends the run, a disk that is gone ends its own jobs alone. Orders are taken as they are
    needed; there are ``count``.

    Raises:
        WeightsError: the weights cannot be used.
        ConfigError: they do not fit the options.
        MachineError: a worker's process does not come up.
    """
    with contextlib.ExitStack() as stack:
        pool = _Pool(options, worker_count(options, count))
        stack.callback(pool.close)
        yield from pool.run(iter(orders))


def worker_count(options: ArchiveOptions, jobs: int) -> int:
    """Return how many workers help: one for each GPU, or one for every ``--cores`` cores, as far
    as memory goes; or what ``--workers`` says.
    """
    gpus = visible_gpus() if parse_device(options.device).kind == "auto" else []
    most = len(gpus) or max(1, usable_cores() // options.cores)
    if (free := available_memory_bytes()) is not None:
        most = min(most, max(1, free // _WORKER_BYTES))
    if parse_device(options.device).kind in {"cuda", "mps"}:
        most = 1
    return max(1, min(options.workers or most, jobs))


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in {"", "-1"}]
    return (
        [str(number) for number in range(len(list(_NVIDIA.iterdir())))] if _NVIDIA.is_dir() else []
    )


class _Pool:
    """Processes that each have one job at a time."""

    def __init__(self, options: ArchiveOptions, count: int) -> None:
        self._options, self._count = options, count
        self._said: _Said = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._again: deque[Order] = deque()
        self._died_once: set[str] = set()
        self._undone: Counter[str] = Counter()  # in a row, by source

    def run(self, orders: Iterator[Order]) -> Iterator[Outcome]:
        for number in range(self._count):
            self._start(number)
        while self._processes:
            process, line = self._next_line()
            yield from self._hear(process, line)
            if process.idle:
                order = self._next(orders)
                if order is None:
                    self._retire(process)
                else:
                    process.give(order)

    def _next_line(self) -> tuple[_Process, dict[str, Any] | None]:
        """Wait for a line of a process that has not been retired; None is its end."""
        while True:
            with contextlib.suppress(queue.Empty):
                process, line = self._said.get(timeout=_LOOK_S)
                if process in self._processes:
                    return process, line

    def _next(self, orders: Iterator[Order]) -> Order | None:
        """Return the next job of a source that is not given up."""
        for order in itertools.chain(self._died(), orders):
            if self._undone[self._source(order)] < self._count + _MORE_UNDONE:
                return order
        return None

    def _died(self) -> Iterator[Order]:
        while self._again:
            yield self._again.popleft()

    def _source(self, order: Order) -> str:
        return source_above(order.job.files[0], self._options.source)

    def _start(self, number: int) -> None:
        environment = _environment(self._options, number, self._count)
        self._processes.append(_Process(number, self._options, environment, self._said))

    def _retire(self, process: _Process) -> None:
        self._processes.remove(process)
        process.close()

    def _hear(self, process: _Process, line: dict[str, Any] | None) -> Iterator[Outcome]:
        """Take what a process says; put another in its place where it has died."""
        if line is not None:
            order = process.order
            process.take(line)
            if order is not None:
                outcome, source = Outcome(**line), self._source(order)
                self._undone[source] = self._undone[source] + 1 if outcome.state == UNDONE else 0
                yield outcome
            return
        order, ending = process.order, process.how_it_ended()
        self._retire(process)
        if order is None:
            raise MachineError(f"a worker's process did not start: {ending}")
        self._start(process.number)
        if order.job.id not in self._died_once:
            self._died_once.add(order.job.id)
            self._again.append(order)
            return
        yield Outcome(
            order.job.id,
            order.job.name,
            FAILED,
            problem=f"its process died twice; the second time {ending}",
            attempts=order.attempts + 1,
        )

    def close(self) -> None:
        """End all processes; what they were at is as if it had never begun."""
        for process in self._processes:
            process.end()
        while self._processes:
            self._retire(self._processes[0])


def _environment(options: ArchiveOptions, number: int, count: int) -> dict[str, str]:
    """Return the environment of a worker: its share of the cores, and its GPU."""
    environment = dict(os.environ)
    threads = max(options.cores, usable_cores() // count)
    for name in ("YOLO_EMA_THREADS", "OMP_NUM_THREADS"):
        environment.setdefault(name, str(threads))
    if parse_device(options.device).kind == "auto" and (gpus := visible_gpus()):
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return environment


class _Process:
    """A worker's process as its parent sees it.

    A thread passes on what it says, since Windows cannot wait for several pipes at once.
    """

    def __init__(
        self, number: int, options: ArchiveOptions, environment: dict[str, str], said: _Said
    ) -> None:
        self.number = number
        self.order: Order | None = None
        self.idle = False
        with temp_folder_named():
            self._words = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
            module_command(_CHILD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=environment,
        )
        self._orders = cast("IO[bytes]", self._process.stdin)
        self._outcomes = cast("IO[bytes]", self._process.stdout)
        self._thread = threading.Thread(target=self._listen, args=(said,), daemon=True)
        self._thread.start()
        self._send(as_order(options))

    def _listen(self, said: _Said) -> None:
        for line in self._outcomes:
            if line.endswith(b"\n"):  # not what a dying process has begun
                said.put((self, json.loads(line)))
        said.put((self, None))

    def give(self, order: Order) -> None:
        """Hand over a job."""
        self.order, self.idle = order, False
        self._send(json.dumps({"job": order.job.as_line(), "attempts": order.attempts}))

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError):  # dead: its end is heard at its other pipe
            self._orders.write(line.encode() + b"\n")
            self._orders.flush()

    def take(self, line: dict[str, Any]) -> None:
        """Note that the process waits for a job.

        Raises:
            YoloEmaError: the worker refuses to begin.
        """
        if "refused" in line:
            raise getattr(errors, line["kind"])(line["refused"])
        self.order, self.idle = None, True
        # The process writes on from here: its place in the file is this one's.
        self._words.seek(0)
        self._words.truncate()

    def how_it_ended(self) -> str:
        """Return how the process died, with its last line of output."""
        try:
            code = self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        ending = f"it ended with code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                ending = f"it was ended by {signal.Signals(-code).name}"
            if ending.endswith("SIGKILL"):  # which Windows has not
                ending += ", as happens when memory runs out"
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return ending + (f": {lines[-1][:300]}" if lines else "")

    def end(self) -> None:
        """Ask the process to end at once."""
        self._process.terminate()

    def close(self) -> None:
        """Let the process end, by force if it does not."""
        with contextlib.suppress(OSError):
            self._orders.close()
        try:
            self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._outcomes.close()
        self._words.close()


_Said = queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]]
"""Lines of processes as they come."""
