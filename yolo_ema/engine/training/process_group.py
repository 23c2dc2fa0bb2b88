"""The process group of a training on several processes: made or taken over, and what its processes
share.

Torch's launcher keeps one store for all attempts of an elastic training, and messages of earlier
attempts stay in it, addresses of processes that are gone among them. So the first process names
each attempt again, and all that this attempt writes goes below that name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from yolo_ema.engine.training.launch import Launch
from yolo_ema.engine.training.shared_failures import SharedFailures
from yolo_ema.errors import ConfigError, MachineError

_MEET = dt.timedelta(seconds=300)
_WAIT = dt.timedelta(hours=3)
"""How long processes wait for each other once all are there: the first may download a dataset."""

_POLL_SECONDS = 0.05
_load = torch.load  # the guarded one refuses what processes of one run send each other


@contextlib.contextmanager
def join(
    launch: Launch,
    facts: Callable[[], dict[str, Any]],
    agree: Callable[[list[dict[str, Any]]], None],
) -> Iterator[SharedFailures]:
    """Meet the other processes; torch's process group is there while the block runs.

    Args:
        launch: this process's place among them.
        facts: returns what this process says of itself, as JSON can hold it; ``device`` is the word
            for its own device, a GPU's number or ``cpu``.
        agree: called in the first process with what all say, in the order of their ranks.

    Raises:
        MachineError: the port is in use, or somebody does not come.
        YoloEmaError: what ``facts``, ``agree`` or the block raises, here or in another process.
    """
    if dist.is_initialized():  # Ray Train's, which ends all when one fails
        all_facts = gathered(facts())
        if launch.is_first:
            agree(all_facts)
        yield SharedFailures(launch, None, None)
        return
    store = _meeting_point(launch)
    attempt = uuid.uuid4().hex if launch.is_first else _attempt(store, launch)
    # A connection of its own to watch: `store` is taken while it waits for a message.
    failures = SharedFailures(
        launch, dist.PrefixStore(attempt, store), dist.PrefixStore(attempt, _connection())
    )
    try:
        with failures.sigterm_interrupts(), failures.told():
            own_facts = facts()
            store.set(f"{attempt}/facts/{launch.rank}", json.dumps(own_facts))
            if launch.is_first:
                agree(_everyones_facts(store, attempt, launch))
            _init_group(own_facts["device"], dist.PrefixStore(f"{attempt}/torch", store), launch)
            yield failures
            dist.barrier()  # the first process may be the one that keeps the store
    finally:
        failures.close()
    dist.destroy_process_group()


def _init_group(device: str, store: dist.Store, launch: Launch) -> None:
    if device != "cpu":
        torch.cuda.set_device(int(device))
    dist.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        store=store,
        rank=launch.rank,
        world_size=launch.world_size,
        timeout=_WAIT,
    )


def _where() -> tuple[str, int]:
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ConfigError(f"MASTER_PORT is {port!r}; expected the number of a port")
    return address, int(port)


def _connection() -> dist.Store:
    address, port = _where()
    return dist.TCPStore(address, port, is_master=False, timeout=_MEET)


def _meeting_point(launch: Launch) -> dist.Store:
    """Return the store that the processes meet at; torchrun's agent keeps it, else the first
    process does.
    """
    address, port = _where()
    try:
        store, _, _ = next(rendezvous("env://", launch.rank, launch.world_size, timeout=_MEET))
    except RuntimeError as error:
        if "in use" in str(error):
            raise MachineError(
                f"port {port} of {address} is in use, so the processes cannot meet there; choose "
                f"another one with --rdzv-endpoint HOST:PORT, or in MASTER_PORT"
            ) from error
        raise MachineError(
            f"process {launch.rank} of {launch.world_size} finds no other process at "
            f"{address}:{port} within {_MEET.seconds} seconds; is the first node up, and is the "
            f"port open to the others?"
        ) from error
    return store


def _attempt(store: dist.Store, launch: Launch) -> str:
    """Return the attempt's name, which the first process answers to a question never asked
    before.
    """
    question = uuid.uuid4().hex
    store.set(f"question/{launch.rank}", question)
    try:
        store.wait([f"answer/{question}"], _MEET)
    except RuntimeError as error:
        raise MachineError(_does_not_come(0, launch)) from error
    return store.get(f"answer/{question}").decode()


def _everyones_facts(store: dist.Store, attempt: str, launch: Launch) -> list[dict[str, Any]]:
    """Return what all say, and answer their questions meanwhile."""
    started, answered = time.monotonic(), set()
    missing = set(range(launch.world_size))
    while missing:
        for rank in sorted(missing):
            if store.check([f"question/{rank}"]):
                question = store.get(f"question/{rank}").decode()
                if question not in answered:
                    store.set(f"answer/{question}", attempt)
                    answered.add(question)
            if store.check([f"{attempt}/facts/{rank}"]):
                missing.discard(rank)
        if missing and time.monotonic() - started > _MEET.seconds:
            raise MachineError(_does_not_come(min(missing), launch))
        time.sleep(_POLL_SECONDS)
    return [json.loads(store.get(f"{attempt}/facts/{rank}")) for rank in range(launch.world_size)]


def _does_not_come(rank: int, launch: Launch) -> str:
    return (
        f"process {rank} of {launch.world_size} did not join the training within {_MEET.seconds} "
        f"seconds; is it started on every node, with the same --nnodes, --nproc-per-node and "
        f"--rdzv-endpoint?"
    )


def gathered(value: Any) -> list[Any]:
    """Return every process's value, in the order of their ranks, in all of them."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(compute: Callable[[], Any]) -> Any:
    """Return what ``compute`` returns in the first process, to all of them; it is called there
    alone. A process by itself just calls it.
    """
    if not _are_several():
        return compute()
    content = io.BytesIO()
    if dist.get_rank() == 0:
        torch.save(compute(), content)
    box = [content.getvalue()]
    dist.broadcast_object_list(box, src=0)
    return _load(io.BytesIO(box[0]), map_location="cpu", weights_only=False)


@contextlib.contextmanager
def in_turn(local_rank: int) -> Iterator[None]:
    """Let the first process do the block, then the first one of every other node, then the rest.

    What the first writes into a cache on a shared disk, all others find; a node with a cache of its
    own fills it once. Stands in for Ultralytics' ``torch_distributed_zero_first``, which lets one
    process of every node begin at the same time.
    """
    if not _are_several():
        yield
        return
    turn = 0 if dist.get_rank() == 0 else 1 if local_rank == 0 else 2
    for now in range(3):
        if now == turn:
            yield
        dist.barrier()


def _are_several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
