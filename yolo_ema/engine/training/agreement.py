"""What the processes of a training must have in common: versions, options, kind of device, data."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed as dist
from ultralytics.utils import LOGGER

from yolo_ema.engine.data.split_files import data_fingerprint
from yolo_ema.engine.setup.devices import ultralytics_device
from yolo_ema.engine.training.launch import Launch
from yolo_ema.engine.training.process_group import gathered
from yolo_ema.engine.training.run_record import source_commit, versions
from yolo_ema.errors import ConfigError, DataError, MachineError
from yolo_ema.options.train import TrainOptions

_MUST_BE_EQUAL = ("yolo-ema", "commit", "ultralytics", "torch")
_OF_EACH_NODE = ("device", "workers")
"""Options in which nodes may differ."""

_DIGITS = 12  # of a digest, in messages


def own_facts(options: TrainOptions, launch: Launch) -> dict[str, Any]:
    """Return what this process says of itself before they start, for `check_same_start`.

    Raises:
        ConfigError, MachineError: see `own_device`.
    """
    return {
        "host": socket.gethostname(),
        "device": own_device(options.device, launch),
        "restarts": launch.restarts,
        "versions": {**versions(), "commit": source_commit() or "none"},
        "options": {
            field.name: str(getattr(options, field.name))
            for field in dataclasses.fields(options)
            if field.name not in _OF_EACH_NODE
        },
    }


def own_device(word: str, launch: Launch) -> str:
    """Return the device of this process: ``cpu``, or its GPU's number on this node.

    Raises:
        ConfigError: the GPUs that are named are not as many as the processes of a node.
        MachineError: this node has fewer GPUs than processes, or not those that are named.
    """
    if dist.is_initialized():
        return "cpu" if "nccl" not in dist.get_backend() else str(torch.cuda.current_device())
    device = ultralytics_device(word)
    if device == "cpu":
        return device
    if device == "mps":
        raise ConfigError("--device mps trains in one process; expected cpu, auto or GPU numbers")
    gpus, processes = device.split(","), launch.local_world_size
    is_auto = word.strip().lower() in {"", "auto"}
    if not is_auto and processes not in {None, len(gpus)}:
        raise ConfigError(
            f"--device {word} names {len(gpus)} GPUs of each node, and the launcher started "
            f"{processes} processes on {socket.gethostname()}; expected --nproc-per-node "
            f"{len(gpus)}, one process per GPU, or --device auto"
        )
    if launch.local_rank >= len(gpus):
        raise MachineError(
            f"{socket.gethostname()} has {len(gpus)} GPUs and {processes or launch.local_rank + 1} "
            f"processes; expected --nproc-per-node {len(gpus)} or less"
        )
    return gpus[launch.local_rank]


def check_same_start(facts: Sequence[dict[str, Any]]) -> None:
    """Check that all processes run the same code with the same options on one kind of device.

    Raises:
        ConfigError: an option differs.
        MachineError: a version that results depend on, or the kind of device, differs; versions of
            other packages are only logged.
    """
    if other := _difference(facts, ["cpu" if fact["device"] == "cpu" else "GPU" for fact in facts]):
        raise MachineError(
            f"the processes compute on different devices: {other}; --device cpu takes the CPU "
            f"everywhere"
        )
    for name in facts[0]["versions"]:
        if other := _difference(facts, [fact["versions"].get(name) for fact in facts]):
            message = f"the processes run different versions of {name}: {other}"
            if name in _MUST_BE_EQUAL:
                raise MachineError(f"{message}; install the same on every node")
            LOGGER.warning(message)
    for name in facts[0]["options"]:
        if other := _difference(facts, [fact["options"].get(name) for fact in facts]):
            flag = "the settings" if name == "settings" else f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"the processes were started with different commands: {flag} is {other}; expected "
                f"the same on every node (but for --device and --workers)"
            )


def check_same_data(data_yaml: str, launch: Launch) -> None:
    """Check, together, that every node has the same images and labels under this path.

    Raises:
        DataError: a node has no such dataset, or another one.
    """
    fingerprint: dict[str, Any] | None = None
    if launch.local_rank == 0:
        try:
            fingerprint = data_fingerprint(data_yaml)
        except (DataError, OSError) as error:
            fingerprint = {"error": str(error)}
    everyones = gathered((socket.gethostname(), fingerprint))
    if launch.is_first:
        compare_data(data_yaml, everyones)


def compare_data(data_yaml: str, everyones: Sequence[tuple[str, dict[str, Any] | None]]) -> None:
    """Compare the datasets of the nodes, given by host and fingerprint, with the first one's.

    Raises:
        DataError: one is missing or differs.
    """
    nodes = [(host, data) for host, data in everyones if data is not None]
    for host, data in nodes:
        if "error" in data:
            raise DataError(
                f"{host} cannot read the dataset {data_yaml}: {data['error']}; put the same data "
                f"at this path on every node, or on a disk that all of them see"
            )
    first_host, first = nodes[0]
    for host, data in nodes[1:]:
        for key in ("names", "splits", "prepared_sha256"):
            if first.get(key) != data.get(key):
                here, there = (_shown(key, facts) for facts in (first, data))
                raise DataError(
                    f"{data_yaml} is not the same on every node: {here} on {first_host}, {there} "
                    f"on {host}; copy it again, or use a disk that all nodes see"
                )


def _shown(key: str, fingerprint: dict[str, Any]) -> str:
    if key != "splits":
        return f"{key} {fingerprint.get(key)}"
    return ", ".join(
        f"{split} {facts['images']} images ({facts['sha256'][:_DIGITS]})"
        for split, facts in fingerprint["splits"].items()
    )


def _difference(facts: Sequence[dict[str, Any]], values: Sequence[Any]) -> str:
    """Return in words where the first value differs from another; empty where all are equal."""
    for rank, (fact, value) in enumerate(zip(facts, values, strict=True)):
        if value != values[0]:
            return (
                f"{values[0]} in process 0 ({facts[0]['host']}), {value} in process {rank} "
                f"({fact['host']})"
            )
    return ""
