"""The processes that load images: how their batches reach the trainer where shared memory is
scarce, and what their death tells.

PyTorch hands batches over in /dev/shm, of which a container has 64 MB unless its `--shm-size` says
otherwise. Where a batch finds no room there, the process that made it drops it with a traceback,
and the trainer waits for it forever.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import queues
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.data.build import InfiniteDataLoader, seed_worker
from ultralytics.utils import LOGGER

from yolo_ema.errors import MachineError, YoloEmaError

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the system keeps it
_LEAST_BYTES = 1 << 20
"""Below this not even the processes' locks, of a page each, are sure of a place."""

_SHARE = 0.5  # of the free shared memory that batches may take
_NOT_HANDED_OVER = 28  # exit code; "no space left on device" as a rule


def workers_allowed(workers: int) -> int:
    """Return how many loading processes to start: none where there is hardly any shared memory."""
    free = _free_bytes()
    if not workers or free is None or free >= _LEAST_BYTES:
        return workers
    LOGGER.warning(
        f"shared memory ({_SHARED_MEMORY}) has {free / 1024:.0f} KB free: images are loaded by the "
        f"training process itself, which is slower (docker run --shm-size=8g makes room)"
    )
    return 0


def prepare_loader(loader: InfiniteDataLoader, imgsz: int) -> None:
    """Make a data loader with processes of its own safe to wait for.

    A process that cannot hand over a batch ends, which the trainer notices. Where shared memory is
    too small for the batches that wait to be used, they go through pipes instead.

    Args:
        loader: one that was not iterated yet.
        imgsz: the longer side of its images in pixels.
    """
    if not loader.num_workers:
        return
    loader.worker_init_fn = _start_worker
    batches = loader.num_workers * (loader.prefetch_factor or 1)
    needed, free = batches * loader.batch_size * 3 * imgsz**2, _free_bytes()
    if free is None or needed <= _SHARE * free:
        return
    LOGGER.warning(
        f"shared memory ({_SHARED_MEMORY}) has {free / 1e6:.0f} MB free, and {loader.num_workers} "
        f"loading processes want up to {needed / 1e6:.0f} MB: batches are copied through pipes "
        f"instead, which takes some processor time (docker run --shm-size=8g makes room)"
    )
    loader.collate_fn = _AsArrays(loader.collate_fn)
    loader.__class__ = _PipedLoader


def _free_bytes() -> int | None:
    """Return the free shared memory; None on systems that keep it elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return 0


class _AsArrays:
    """A collate function whose tensors become arrays: these are pickled, where tensors would be
    placed in shared memory.
    """

    def __init__(self, collate: Callable[[list[Any]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> dict[str, Any]:
        batch = self.collate(samples)
        return {
            key: value.numpy() if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }


class _PipedLoader(InfiniteDataLoader):
    """Turns the arrays of `_AsArrays` into tensors again."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in super().__iter__():
            yield {
                key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                for key, value in batch.items()
            }


def _start_worker(number: int) -> None:
    seed_worker(number)
    queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]  # noqa: SLF001 - the thread that hands over calls it


def _end_worker(error: BaseException, _batch: Any) -> None:
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(_NOT_HANDED_OVER)


@contextlib.contextmanager
def clear_loading_errors() -> Iterator[None]:
    """Say what a loading process died of, and leave its traceback out of errors of this project.

    Raises:
        MachineError: a loading process died.
        YoloEmaError: the error that a loading process raised.
    """
    try:
        yield
    except YoloEmaError as error:
        # torch re-raises a process's error, with its traceback as the message
        if not str(error).startswith("Caught "):
            raise
        message = str(error).rpartition(f"{type(error).__name__}: ")[2]
        raise type(error)(message.strip()) from error
    except (RuntimeError, ConnectionError, EOFError) as error:
        # the latter two where it died while the trainer took a batch from it
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise MachineError(
            f"a process that loads images died: {_reason(str(error))}; --workers 0 loads them in "
            f"the training process"
        ) from error


def _reason(text: str) -> str:
    if f"exit code {_NOT_HANDED_OVER}" in text:
        return f"it could not hand over a batch, as shared memory ({_SHARED_MEMORY}) is full"
    if signal := re.search(r"killed by signal: ([\w ]+)", text):
        memory = " (memory may have run out)" if signal[1] == "Killed" else ""
        full = f" (shared memory, {_SHARED_MEMORY}, is full)" if signal[1] == "Bus error" else ""
        return f"it was killed by the signal {signal[1]}{memory}{full}"
    free = _free_bytes()
    memory = "" if free is None else f"; shared memory has {free / 1e6:.1f} MB free"
    return f"it ended unexpectedly, with its message above if it had one{memory}"
