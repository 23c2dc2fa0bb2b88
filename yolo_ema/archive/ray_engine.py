"""Runs jobs on a Ray cluster: Ray Data over jobs, an actor for each GPU or group of cores."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np

from yolo_ema import errors
from yolo_ema.archive.job import FAILED, UNDONE, Job, Order, Outcome
from yolo_ema.archive.ray_cluster import check_nodes, connected
from yolo_ema.archive.worker import Worker
from yolo_ema.errors import ConfigError, MachineError, WeightsError, YoloEmaError
from yolo_ema.io.devices import parse_device
from yolo_ema.io.text_files import say
from yolo_ema.options.archive import ArchiveOptions

_WINDOW_JOBS = 20_000
"""Ray keeps a record of each: more jobs follow when these have ended."""
_MOST_BEGINNINGS = 2
_LONGEST_PAUSE_S = 60.0


def run_on_ray(
    options: ArchiveOptions, orders: Iterable[Order], count: int
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of jobs as they come.

    A job whose actor or node dies is given to another one once. Jobs that are ``undone``, since
    their node has a fault, are given out again at the end, for as long as some of them end. Orders
    are taken as they are needed; there are ``count``.

    Raises:
        MissingPackageError: Ray is not installed.
        WeightsError: the weights cannot be used.
        ConfigError: they do not fit the options.
        MachineError: the cluster does not answer, or is lost; a node has another version of this
            project, other weights, or does not see the output folder.
    """
    with connected(options.address) as ray:
        check_nodes(ray, options)
        resources = _resources(ray, options)
        most = _most_actors(ray, resources, options, count)
        say(f"yolo-ema: Ray: up to {most} actors with {_in_words(resources)} each")
        undone: list[Order] = []
        waiting = iter(orders)
        while window := list(itertools.islice(waiting, _WINDOW_JOBS)):
            for order, outcome in _run_window(ray, options, window, resources, most):
                if outcome.state == UNDONE:
                    undone.append(order)
                else:
                    yield outcome
        while undone:
            again, undone, faults = undone, [], []
            for order, outcome in _run_window(ray, options, again, resources, most):
                if outcome.state == UNDONE:
                    undone.append(order)
                    faults.append(outcome)
                else:
                    yield outcome
            if len(undone) == len(again):
                yield from faults
                return


def _resources(ray: Any, options: ArchiveOptions) -> dict[str, Any]:
    """Return what an actor needs: a GPU where the cluster has some, and cores."""
    wants_gpu = parse_device(options.device).kind in {"auto", "cuda"}
    has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
    return {"num_cpus": options.cores} | ({"num_gpus": 1} if wants_gpu and has_gpu else {})


def _most_actors(ray: Any, resources: dict[str, Any], options: ArchiveOptions, count: int) -> int:
    """Return how many actors help now; a cluster that grows is given more by the next window.

    Raises:
        MachineError: no node has room for one.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs = {"CPU": resources["num_cpus"], "GPU": resources.get("num_gpus", 0)}
    room = sum(
        min(int(node.get(kind, 0) // need) for kind, need in needs.items() if need)
        for node in alive
    )
    if not room:
        raise MachineError(
            f"no node of the cluster has {_in_words(resources)} for an actor; expected at least "
            f"one (--cores)"
        )
    return max(1, min(options.workers or room, room, count))


def _in_words(resources: dict[str, Any]) -> str:
    cores = resources["num_cpus"]
    return ("a GPU and " if "num_gpus" in resources else "") + f"{cores} core{'s' * (cores > 1)}"


def _run_window(
    ray: Any, options: ArchiveOptions, window: list[Order], resources: dict[str, Any], most: int
) -> Iterator[tuple[Order, Outcome]]:
    """Yield the orders with their outcomes, in the order in which they end."""
    given = {order.job.id: order for order in window}
    try:
        for outcome in _outcomes(options, window, resources, most):
            if outcome.id in given:  # once, however often Ray has run it
                yield given.pop(outcome.id), outcome
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines()
        raise MachineError(f"the Ray cluster is lost: {lines[-1] if lines else error!r}") from error
    for order in given.values():
        yield order, _lost(order.job, order.attempts, "Ray gave it up")


def _lost(job: Job, attempts: int, problem: str) -> Outcome:
    return Outcome(job.id, job.name, FAILED, problem=problem, attempts=attempts + 1)


def _outcomes(
    options: ArchiveOptions, window: list[Order], resources: dict[str, Any], most: int
) -> Iterator[Outcome]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a job that Ray gives up is missing, and ends nothing
    context.max_consecutive_actor_init_deaths = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Ledger).remote()
    rows = [{"job": order.job.as_line(), "attempts": order.attempts} for order in window]
    jobs = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = jobs.map_batches(
        _Actor,
        fn_constructor_args=(options, ledger),
        batch_size=1,
        # One job at a time each: none waits in the queue of an actor that dies.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=most, max_tasks_in_flight_per_actor=1
        ),
        **resources,
    )
    for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
        for text in batch["outcome"]:
            record = json.loads(text)
            if "refused" in record:  # for which it refuses all jobs
                raise getattr(errors, record["kind"])(record["refused"])
            yield Outcome(**record)


class _Ledger:
    """Counts how often jobs have begun: by itself, Ray would start a job that kills its process
    again and again, forever.
    """

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, job_id: str) -> int:
        self._begun[job_id] += 1
        return self._begun[job_id]

    def end(self, job_id: str) -> None:
        del self._begun[job_id]


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, options: ArchiveOptions, ledger: Any) -> None:
        self._ledger = ledger
        os.environ["YOLO_EMA_THREADS"] = str(options.cores)
        self._worker: Worker | None = None
        self._refusal, self._faults = "", 0
        self._verdict: dict[str, str] = {}
        try:
            self._worker = Worker(options)
        except (ConfigError, WeightsError) as error:  # so would every node's: weights are equal
            self._verdict = {"refused": str(error), "kind": type(error).__name__}
        except (YoloEmaError, OSError) as error:  # raised here, Ray would try forever
            self._refusal = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self._verdict:
            return {"outcome": np.array([json.dumps(self._verdict)], object)}
        outcomes = [
            self._run(Job.from_line(line), int(attempts))
            for line, attempts in zip(batch["job"], batch["attempts"], strict=True)
        ]
        texts = [json.dumps(dataclasses.asdict(outcome)) for outcome in outcomes]
        return {"outcome": np.array(texts, object)}

    def _run(self, job: Job, attempts: int) -> Outcome:
        import ray

        if ray.get(self._ledger.begin.remote(job.id)) > _MOST_BEGINNINGS:
            self._ledger.end.remote(job.id)
            died = "its process or its node died twice, as happens when memory runs out"
            return _lost(job, attempts, died)
        if self._worker is None:
            outcome = Outcome(job.id, job.name, UNDONE, problem=self._refusal)
        else:
            outcome = self._worker.run(job, attempts)
        self._ledger.end.remote(job.id)
        if outcome.state == UNDONE:
            # A node with a fault is quick: it would take the jobs of all others.
            time.sleep(min(2.0**self._faults, _LONGEST_PAUSE_S))
            self._faults += 1
        else:
            self._faults = 0
        return outcome
