"""Archives on a Ray cluster of several raylets on this machine, and its faults."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_files import PER_FRAME, archive_options, draw, record

from yolo_ema.archive import ray_cluster, ray_engine
from yolo_ema.archive.job import DONE, FAILED, Job, Outcome
from yolo_ema.archive.manifest import open_manifest
from yolo_ema.archive.run import archive
from yolo_ema.archive.storage import open_storage
from yolo_ema.errors import (
    ConfigError,
    DamagedWeightsError,
    MachineError,
    MissingPackageError,
)
from yolo_ema.options.archive import ArchiveOptions

ray = pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

FRAMES = 300
VIDEOS = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for actors; tests add the nodes that they need."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def node(cluster: Any) -> Any:
    """A node that stays."""
    return cluster.add_node(num_cpus=1)


@pytest.fixture
def options(tmp_path: Path) -> ArchiveOptions:
    for number in range(VIDEOS):
        record(tmp_path / "flights" / f"{number}.mp4", frames=FRAMES, gop=50)
    return archive_options(tmp_path, tmp_path / "flights", engine="ray")


def outcomes_of(options: ArchiveOptions) -> Iterator[Outcome]:
    manifest = open_manifest(options, open_storage(options.out), options.weights)
    pending = manifest.pending((0, 1), retry_failed=False)
    return ray_engine.run_on_ray(options, manifest.orders(pending), len(pending.todo))


def hold_all_is_there_once(options: ArchiveOptions, outcomes: list[Outcome]) -> None:
    assert Counter(outcome.state for outcome in outcomes) == {DONE: VIDEOS}
    assert len({outcome.id for outcome in outcomes}) == VIDEOS
    files = sorted(Path(options.out).glob("detections/*"))
    assert {file.stem for file in files} == {outcome.id for outcome in outcomes}
    frames = Counter(
        (row["source"], row["frame"])
        for file in files
        for row in pq.read_table(file, columns=["source", "frame"]).to_pylist()
    )
    assert len(frames) == VIDEOS * FRAMES
    assert set(frames.values()) == {PER_FRAME}
    assert not list(Path(options.out).rglob(".*"))


def test_the_files_are_those_of_the_local_engine(tmp_path: Path, node: Any) -> None:
    record(tmp_path / "flights" / "a.mp4", frames=30)
    (tmp_path / "flights" / "broken.mp4").write_bytes(b"no video")
    for number in range(3):
        draw(tmp_path / "flights" / f"{number}.jpg", number)
    contents = []
    for engine in ("local", "ray"):
        more = {"segment": 1, "images_per_job": 2, "save": ("jsonl", "annotated")}
        options = archive_options(
            tmp_path, tmp_path / "flights", engine=engine, out=str(tmp_path / engine), **more
        )
        result = archive(options)
        assert (result.done, result.failed, result.frames, result.exit_code) == (5, 1, 33, 5)
        files = [path for path in (tmp_path / engine).rglob("*") if path.is_file()]
        contents.append({path.relative_to(tmp_path / engine): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    again = archive(options)
    assert (again.done_before, again.done, again.failed) == (5, 0, 1)


def test_a_node_that_dies_costs_nothing(cluster: Any, node: Any, options: ArchiveOptions) -> None:
    other = cluster.add_node(num_cpus=1)
    outcomes = outcomes_of(options)
    first = [next(outcomes), next(outcomes)]
    cluster.remove_node(other, allow_graceful=False)
    hold_all_is_there_once(options, [*first, *outcomes])


def actor_pids() -> list[int]:
    pids = []
    for name in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"MapWorker" in name.read_bytes():
                pids.append(int(name.parent.name))
        except OSError:
            continue
    return pids


def test_a_worker_that_is_killed_costs_nothing(node: Any, options: ArchiveOptions) -> None:
    outcomes = outcomes_of(options)
    first = next(outcomes)
    pids = actor_pids()
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)  # as the kernel does where memory has run out
    hold_all_is_there_once(options, [first, *outcomes])


def test_a_node_whose_disk_is_full_costs_nothing(
    cluster: Any, node: Any, options: ArchiveOptions, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    (small / "fills it").write_bytes(b"x" * (28 << 10))
    full = cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(small)})
    try:
        outcomes = list(outcomes_of(options))
    finally:
        cluster.remove_node(full, allow_graceful=False)
        subprocess.run(["umount", "-l", str(small)], check=True)
    hold_all_is_there_once(options, outcomes)


def test_a_job_that_kills_every_process_is_abandoned(tmp_path: Path, monkeypatch) -> None:
    begun = Counter()

    class Remote:
        def __init__(self, function: Any) -> None:
            self.remote = function

    class Ledger:
        _ledger = ray_engine._Ledger()
        begin, end = Remote(_ledger.begin), Remote(_ledger.end)

    class Dying:
        def __init__(self, _options: object) -> None:
            pass

        def run(self, job: Job, attempts: int) -> Outcome:
            begun[job.id] += 1
            raise SystemExit

    monkeypatch.setattr(ray_engine, "Worker", Dying)
    monkeypatch.setattr(ray, "get", lambda value: value)
    job = Job(("/archive/poison.mp4",))
    batch = {"job": [job.as_line()], "attempts": [0]}
    options = archive_options(tmp_path, "x", engine="ray")
    for _ in range(2):
        with pytest.raises(SystemExit):
            ray_engine._Actor(options, Ledger)(batch)
    (text,) = ray_engine._Actor(options, Ledger)(batch)["outcome"]
    assert begun[job.id] == 2
    assert FAILED in text
    assert "died twice" in text


@pytest.mark.parametrize("cause", ["weights", "classes"])
def test_what_every_node_refuses_ends_the_run_at_once(
    node: Any, options: ArchiveOptions, tmp_path: Path, cause: str
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no network")
    change, error, message = {
        "weights": ({"weights": bad}, DamagedWeightsError, "bad.onnx is damaged"),
        "classes": ({"classes": ("bus",)}, ConfigError, "know no class 'bus'"),
    }[cause]
    with pytest.raises(error, match=message):
        archive(dataclasses.replace(options, **change))
    assert not list(tmp_path.glob("out/detections/*"))


def test_nodes_that_differ_are_named(node: Any, options: ArchiveOptions, monkeypatch) -> None:
    monkeypatch.setattr(ray_cluster, "__version__", "0.0.1")
    with pytest.raises(MachineError, match=r"need yolo-ema 0\.0\.1.*: .*\(.*\).* has \d"):
        next(outcomes_of(options))
    monkeypatch.undo()
    monkeypatch.setattr(ray_cluster, "weights_digest", lambda _weights: "others")  # here alone
    with pytest.raises(MachineError, match=r"\(.*\) does not see the same --weights"):
        next(outcomes_of(options))
    monkeypatch.undo()
    crowded = archive_options(
        options.weights.parent, *options.source, engine="ray", cores=64, out=options.out
    )
    with pytest.raises(MachineError, match="no node of the cluster has 64 cores"):
        next(outcomes_of(crowded))


@pytest.mark.parametrize("kind", ["nobody listens", "somebody else listens"])
def test_an_address_that_does_not_answer(tmp_path: Path, cold_yolo_ema_command, kind: str) -> None:
    draw(tmp_path / "a.jpg")
    archive_options(tmp_path, tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "somebody else listens":
            listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        run = cold_yolo_ema_command(
            *("archive", "a.jpg", "--weights", "drawn.onnx", "--out", "out", "--engine", "ray"),
            *("--address", address),
        )
    assert run.code == 6
    (line,) = (line for line in run.err.splitlines() if line.startswith("yolo-ema: "))
    assert f"error: no Ray cluster answers at {address}" in line
    assert not run.out


def test_patience_with_an_address_is_under_ten_seconds() -> None:
    assert ray_cluster._ANSWERS_WITHIN_S < 10


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    draw(tmp_path / "a.jpg")
    with pytest.raises(MissingPackageError, match=r'pip install "yolo-ema\[ray\]"'):
        archive(archive_options(tmp_path, tmp_path / "a.jpg", engine="ray"))
