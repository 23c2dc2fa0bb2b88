"""What Ultralytics' trainer does for several GPUs, done for several CPU processes.

Its world is one of GPUs: it names a device number to `DistributedDataParallel`, averages over NCCL,
and takes the current GPU for the last validation. gloo on CPUs has none of these.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ultralytics.engine import validator

from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.io.malloc_tuning import keep_freed_memory


@contextlib.contextmanager
def several_on_cpu(trainer: Any) -> Iterator[None]:
    """Let Ultralytics' trainer run on several CPU processes while the block runs; change nothing
    for one process, or on GPUs.
    """
    if trainer.world_size < 2 or trainer.device.type != "cpu":
        yield
        return
    reduce, backend = dist.reduce, validator.AutoBackend

    def parallel(model: torch.nn.Module, device_ids: Any = None, **named: Any) -> Any:
        return DistributedDataParallel(model, **named)

    def averaging(tensor: torch.Tensor, dst: int, op: Any = dist.ReduceOp.SUM) -> Any:
        if op == dist.ReduceOp.AVG:
            tensor /= dist.get_world_size()
            op = dist.ReduceOp.SUM
        return reduce(tensor, dst=dst, op=op)

    def on_cpu(*arguments: Any, device: Any, **named: Any) -> Any:
        return backend(*arguments, device=torch.device("cpu"), **named)

    no_gpus = SimpleNamespace(current_device=lambda: 0)
    with (
        mock.patch.object(torch.nn.parallel, "DistributedDataParallel", parallel),
        mock.patch.object(dist, "reduce", averaging),
        mock.patch.object(validator, "AutoBackend", on_cpu),
        mock.patch.object(validator, "get_torch_device_backend", return_value=no_gpus),
    ):
        yield


def settle_on_cpu(args: Any, workers: int | None) -> None:
    """Set up a training on the CPU: cores, memory, and the settings that Ultralytics knows
    otherwise there.
    """
    use_own_cores()
    keep_freed_memory(of_any_size=True)
    args.workers = workers or 0  # Ultralytics knows only 0 here
    if args.channels_last:
        args.channels_last = None  # the same here, and Ultralytics would warn of it


def use_own_cores() -> None:
    """Give torch every core, or this process's share of them where several train on this node."""
    threads = use_all_cores()
    if not os.environ.get("YOLO_EMA_THREADS"):
        torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
