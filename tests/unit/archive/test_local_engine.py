"""How many workers a machine is given, which GPU each has, and how they are heard."""

from __future__ import annotations

import selectors
import sys
from collections import Counter
from pathlib import Path

import pytest
from archive_files import archive_options

from yolo_ema.archive import local_engine
from yolo_ema.archive.job import DONE, FAILED, UNDONE, Job, Order
from yolo_ema.archive.local_engine import run_locally, visible_gpus, worker_count
from yolo_ema.options.archive import ArchiveOptions

GB = 1 << 30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that makes this machine another one."""

    def make(cores: int, gpus: int, free: int | None, visible: str | None = None) -> None:
        folder = tmp_path / f"{gpus} gpus"
        for number in range(gpus):
            (folder / f"0000:0{number}:00.0").mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(local_engine, "_NVIDIA", folder)
        monkeypatch.setattr(local_engine, "usable_cores", lambda: cores)
        monkeypatch.setattr(local_engine, "available_memory_bytes", lambda: free)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


def options(tmp_path: Path, **more: object) -> ArchiveOptions:
    return archive_options(tmp_path, "flights", **more)


@pytest.mark.parametrize(
    ("cores", "gpus", "free", "more", "jobs", "count"),
    [
        (8, 0, 64 * GB, {}, 100, 8),
        (8, 0, 64 * GB, {"cores": 3}, 100, 2),
        (8, 0, 64 * GB, {}, 3, 3),
        (8, 0, 5 * GB, {}, 100, 3),
        (8, 0, GB // 2, {}, 100, 1),
        (8, 0, None, {}, 100, 8),
        (8, 0, 5 * GB, {"workers": 6}, 100, 6),
        (32, 4, 512 * GB, {}, 100, 4),
        (32, 4, 512 * GB, {"device": "cpu"}, 100, 32),
        (32, 4, 512 * GB, {"device": "1"}, 100, 1),
    ],
)
def test_workers(machine, tmp_path, cores, gpus, free, more, jobs, count) -> None:
    machine(cores, gpus, free)
    assert worker_count(options(tmp_path, **more), jobs) == count


def test_each_worker_has_its_gpu_and_its_share_of_the_cores(machine, tmp_path, monkeypatch) -> None:
    for name in ("YOLO_EMA_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    machine(12, 3, None, visible="0,2")
    assert visible_gpus() == ["0", "2"]
    made = [local_engine._environment(options(tmp_path), number, 2) for number in range(2)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in made] == ["0", "2"]
    assert {one["YOLO_EMA_THREADS"] for one in made} == {"6"}
    machine(12, 3, None, visible="")
    assert visible_gpus() == []


CHILD = """
import json, sys
sys.stdin.readline()
print("x" * 300, file=sys.stderr, flush=True)
print(json.dumps({"ready": 1}), flush=True)
for line in sys.stdin:
    job = json.loads(json.loads(line)["job"])
    print(f"begins {job['source']}", file=sys.stderr, flush=True)
    if "bad" in job["source"]:
        sys.stdout.write('{"id": "cut off')
        sys.stdout.flush()
        sys.exit(7)
    state = "undone" if "/gone/" in job["source"] else "done"
    print(json.dumps({"id": job["id"], "name": job["source"], "state": state}), flush=True)
"""


def test_workers_are_heard_where_pipes_cannot_be_waited_for(tmp_path, monkeypatch) -> None:
    """As on Windows, whose ``select`` takes sockets alone."""

    def refuse(*_: object) -> None:
        raise OSError(10038, "an operation was attempted on something that is not a socket")

    monkeypatch.setattr(selectors.DefaultSelector, "register", refuse)
    monkeypatch.setattr(local_engine, "module_command", lambda _: [sys.executable, "-c", CHILD])
    orders = [Order(Job((f"/flights/{name}.mp4",)), 0) for name in ("a", "bad", "b", "c")]
    outcomes = list(run_locally(options(tmp_path, workers=2), orders, len(orders)))
    states = {Path(outcome.name).stem: outcome.state for outcome in outcomes}
    assert states == {"a": DONE, "b": DONE, "bad": FAILED, "c": DONE}
    (problem,) = (outcome.problem for outcome in outcomes if outcome.problem)
    # Of its own words alone, though the process has said other things before.
    died = "its process died twice; the second time it ended with code 7"
    assert problem == f"{died}: begins /flights/bad.mp4"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_is_gone_keeps_no_other_from_being_done(
    tmp_path, monkeypatch, workers
) -> None:
    monkeypatch.setattr(local_engine, "module_command", lambda _: [sys.executable, "-c", CHILD])
    sources = [f"/flights/{name}" for name in ("gone", "there", "mixed")]
    files = [f"{source}/{number}.mp4" for source in sources[:2] for number in range(30)]
    for number in range(30):  # now and then a single one
        files += [f"{sources[2]}/gone/{number}.mp4", f"{sources[2]}/{number}.mp4"]
    orders = [Order(Job((file,)), 0) for file in files]
    given = archive_options(tmp_path, *sources, workers=workers)
    outcomes = list(run_locally(given, orders, len(orders)))
    ended = Counter((Path(outcome.name).parent.name, outcome.state) for outcome in outcomes)
    undone = ended.pop(("gone", UNDONE))
    assert ended == {("there", DONE): 30, ("mixed", DONE): 30}
    assert 30 + 5 <= undone < 30 + 10


def test_what_is_in_the_way_of_all_jobs_soon_ends_the_run(tmp_path, monkeypatch) -> None:
    """As a full disk."""
    monkeypatch.setattr(local_engine, "module_command", lambda _: [sys.executable, "-c", CHILD])
    orders = [Order(Job((f"/gone/{number}.mp4",)), 0) for number in range(100)]
    given = archive_options(tmp_path, "/gone", workers=2)
    outcomes = list(run_locally(given, orders, len(orders)))
    assert {outcome.state for outcome in outcomes} == {UNDONE}
    assert len(outcomes) < 10
