"""The connection to a Ray cluster, and whether its nodes fit this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from yolo_ema._version import __version__
from yolo_ema.archive.manifest import RECORD, weights_digest
from yolo_ema.archive.storage import open_storage
from yolo_ema.detect.detector import default_weights
from yolo_ema.errors import MachineError, MissingPackageError, YoloEmaError
from yolo_ema.options.archive import ArchiveOptions

_ANSWERS_WITHIN_S = 8.0
_NODE_ANSWERS_WITHIN_S = 120.0
_ON_THIS_MACHINE = frozenset({None, "", "local"})


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine, and yield the module ``ray``. A
    connection that is there already is used, and stays.

    Raises:
        MissingPackageError: Ray is not installed.
        MachineError: nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError(
            f"--engine ray needs Ray, which is not installed here ({error.name} is missing); "
            f'install it with: pip install "yolo-ema[ray]"'
        ) from error
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address in _ON_THIS_MACHINE:
        ray.init(address="local", include_dashboard=False, **options)
    else:
        _connect(lambda: ray.init(address=address, **options), str(address))
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(connect: Callable[[], Any], address: str) -> None:
    """Connect, and give up soon: Ray itself tries for a minute."""
    _check_port(address)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            connect()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="connects to Ray", daemon=True)
    thread.start()
    thread.join(_ANSWERS_WITHIN_S)
    if failed or thread.is_alive():
        reason = f": {str(failed[0]).splitlines()[0]}" if failed and str(failed[0]) else ""
        raise MachineError(_no_answer(address) + reason) from (failed[0] if failed else None)


def _check_port(address: str) -> None:
    """Raise `MachineError` where nobody listens."""
    host, _, port = (
        address.partition("://")[2].rpartition(":")
        if "://" in address
        else (address.rpartition(":"))
    )
    if not host or not port.isdecimal():  # "auto", which Ray looks up
        return
    try:
        socket.create_connection(
            (host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S / 2
        ).close()
    except OSError as error:
        raise MachineError(f"{_no_answer(address)}: {error.strerror or error}") from error


def _no_answer(address: str) -> str:
    return (
        f"no Ray cluster answers at {address}; expected the address of its head, as in "
        f"10.0.0.1:6379 (ray start --head prints it), or --engine local"
    )


def check_nodes(ray: Any, options: ArchiveOptions) -> None:
    """Hold every node of a cluster against this machine.

    Raises:
        MachineError: a node has another version of this project or none, other weights, or another
            output folder; each is named.
    """

    def version() -> str:  # sent as it is: a node may have no module of ours
        try:
            from yolo_ema._version import __version__ as installed
        except ImportError as error:
            return f"none ({error})"
        return installed

    versions = _on_every_node(ray, version)
    others = [f"{node} has {other}" for node, other in versions.items() if other != __version__]
    if others:
        raise MachineError(
            f"the nodes of the cluster need yolo-ema {__version__}, as this machine has: "
            f"{'; '.join(others)}"
        )
    weights = str(options.weights or default_weights())
    files = [options.dem, *options.telemetry] if options.dem else list(options.telemetry)
    arguments = (options.out, weights, [str(file) for file in files])
    local = _node_facts(*arguments)
    facts = _on_every_node(ray, _node_facts, *arguments)
    problems = [
        f"{node} {_DIFFERENCES[name]}: {fact[name]}"
        for node, fact in facts.items()
        for name in _DIFFERENCES
        if fact[name] != local[name]
    ]
    if problems:
        raise MachineError(
            f"the nodes of the cluster do not fit this machine: {'; '.join(problems)}. A path has "
            f"to be of a disk that all of them share."
        )


_DIFFERENCES = {
    "out": "does not see the same --out",
    "weights": "does not see the same --weights",
    "telemetry": "does not see the same files of --telemetry and --dem",
}


def _node_facts(out: str, weights: str, files: Sequence[str] = ()) -> dict[str, str]:
    """Return what a node sees of the output folder, the weights and the files of telemetry (these
    by their sizes), or why it sees nothing.
    """
    from pathlib import Path

    facts = {}
    try:
        facts["out"] = open_storage(out).read(RECORD).decode()
    except (YoloEmaError, OSError) as error:
        facts["out"] = str(error)
    try:
        facts["weights"] = weights_digest(Path(weights))
    except (YoloEmaError, OSError) as error:
        facts["weights"] = str(error)
    sizes = {file: Path(file).stat().st_size for file in files if Path(file).is_file()}
    facts["telemetry"] = str(sizes)
    return facts


def _on_every_node(ray: Any, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Return what a function returns on each node, by the node's name and address; a node that dies
    meanwhile is left out.

    Raises:
        MachineError: it fails on a node, or a node does not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    references = {}
    for node in ray.nodes():
        if node["Alive"]:
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = name if name not in references else f"{name}, node {node['NodeID'][:8]}"
            references[name] = task.options(scheduling_strategy=pinned).remote(*arguments)
    answers = {name: _answer_of(ray, name, reference) for name, reference in references.items()}
    return {name: answer for name, answer in answers.items() if answer is not None}


def _answer_of(ray: Any, name: str, reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=_NODE_ANSWERS_WITHIN_S)
    except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
        return None
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines()
        raise MachineError(f"node {name} fails: {lines[-1] if lines else error!r}") from error
