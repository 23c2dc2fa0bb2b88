"""Checkpoints: whole after kills and full disks, stripped at once, found again."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.checkpoints import (
    RUN_LOCK,
    AtomicPath,
    latest_checkpoint,
    restore_best,
    resumable_checkpoint,
    strip_checkpoint,
)
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.errors import ConfigError, DiskFullError, UnsafeWeightsError, WeightsNotFoundError
from yolo_ema.io import atomic_files as files

# isort: split

from ultralytics.utils import LOGGER

KILLS = 30


def _checkpoint(path: Path, *, epoch: int = 1, epochs: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = build_model("yolo11n-ema", 2)
    content = {
        "epoch": epoch,
        "model": None,
        "ema": model.half(),
        "updates": 3,
        "optimizer": {"state": torch.zeros(1000)},
    }
    torch.save(
        {
            **content,
            "train_args": {"epochs": epochs, "imgsz": 96, "yolo_ema": {"drone": {"nwd": 0.5}}},
        },
        path,
    )
    return path


def test_a_path_made_from_an_atomic_one_is_atomic_too(tmp_path):
    folder = AtomicPath(tmp_path)
    assert isinstance(folder / "epoch3.pt", AtomicPath)
    assert (folder / "last.pt").write_bytes(b"abc") == 3
    assert (tmp_path / "last.pt").read_bytes() == b"abc"
    assert [one.name for one in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    last = _checkpoint(tmp_path / "last.pt")
    before = last.read_bytes()

    def half_then_full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.Path, "write_bytes", half_then_full)
    with pytest.raises(
        DiskFullError,
        match=r"disk full while writing .*last.pt; the file that was there before is intact",
    ):
        AtomicPath(last).write_bytes(b"x" * 1000)
    monkeypatch.undo()
    assert last.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["last.pt"]
    load_model(last)


_KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
from yolo_ema.engine.weights.checkpoints import AtomicPath, discard_leftovers

folder, kind = Path(sys.argv[1]), {"atomic": AtomicPath, "plain": Path}[sys.argv[2]]
kills = int(sys.argv[3])
last = kind(folder / "last.pt")
contents = [bytes([value]) * 3_000_000 for value in range(8)]
last.write_bytes(contents[0])
generator = random.Random(0)
torn = inside = 0
for _ in range(kills):
    child = os.fork()
    if child == 0:
        while True:
            for content in contents:
                last.write_bytes(content)
    time.sleep(generator.uniform(0.002, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    torn += last.read_bytes() not in contents
    inside += bool(list(folder.glob(".*.part*")))
    discard_leftovers(folder)
print(json.dumps({"torn": torn, "inside": inside}))
"""


def _kill_savers(folder: Path, kind: str) -> dict[str, int]:
    """Let children save in a loop and kill them at random moments, all in a process of its own:
    forking this one would not do.
    """
    command = [sys.executable, "-W", "ignore", "-c", _KILLS, str(folder), kind, str(KILLS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_kill_during_a_save_never_leaves_a_torn_checkpoint(tmp_path):
    """Whatever the moment, the file must be one of those that were being saved."""
    found = _kill_savers(tmp_path, "atomic")
    assert found["torn"] == 0
    assert found["inside"] >= KILLS // 4, "the kills must hit saves, or they prove nothing"
    assert [one.name for one in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_the_same_kills_tear_a_plain_write(tmp_path):
    """What the test above would find without atomic writes: the plain write that Ultralytics
    does.
    """
    assert _kill_savers(tmp_path, "plain")["torn"] > 0


def test_stripping_keeps_the_model_and_drops_the_training_state(tmp_path):
    last = _checkpoint(tmp_path / "last.pt")
    expected = load_model(last).model.state_dict()
    written = strip_checkpoint(last, updates={"train_results": {"epoch": [1]}})
    content = load_checkpoint(last)
    assert content["epoch"] == -1
    assert content["optimizer"] is None
    assert content["train_results"] == written["train_results"] == {"epoch": [1]}
    for name, tensor in load_model(last).model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert [one.name for one in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_while_stripping_leaves_the_checkpoint_as_it_was(tmp_path, monkeypatch):
    last = _checkpoint(tmp_path / "last.pt")
    before = last.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DiskFullError):
        strip_checkpoint(last)
    assert last.read_bytes() == before


def test_the_newest_unfinished_run_is_found(tmp_path):
    older = _checkpoint(tmp_path / "a" / "weights" / "last.pt")
    newer = _checkpoint(tmp_path / "b" / "weights" / "last.pt")
    finished = _checkpoint(tmp_path / "c" / "weights" / "last.pt")
    strip_checkpoint(finished)
    for age, path in ((30, older), (20, newer), (10, finished)):
        os.utime(path, (time.time() - age, time.time() - age))
    assert latest_checkpoint(tmp_path) == newer
    newer.unlink()
    older.unlink()
    with pytest.raises(WeightsNotFoundError, match="1 finished runs are under"):
        latest_checkpoint(tmp_path)
    with pytest.raises(WeightsNotFoundError, match="there is no run under"):
        latest_checkpoint(tmp_path / "nothing")


def _aged(path: Path, age_s: float) -> Path:
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


def test_damaged_checkpoints_are_named_and_skipped(tmp_path, caplog):
    older = _aged(_checkpoint(tmp_path / "a" / "weights" / "last.pt"), 30)
    damaged = _checkpoint(tmp_path / "b" / "weights" / "last.pt")
    damaged.write_bytes(damaged.read_bytes()[:10_000])
    LOGGER.addHandler(caplog.handler)
    try:
        assert latest_checkpoint(tmp_path) == older
    finally:
        LOGGER.removeHandler(caplog.handler)
    assert f"skipped: {damaged}" in caplog.text
    older.unlink()
    with pytest.raises(
        WeightsNotFoundError,
        match=rf"0 finished runs .* and 1 that cannot be read \({damaged} is truncated",
    ):
        latest_checkpoint(tmp_path)


def test_runs_that_another_process_trains_are_named_and_skipped(tmp_path, caplog):
    pytest.importorskip("fcntl")
    older = _aged(_checkpoint(tmp_path / "a" / "weights" / "last.pt"), 30)
    _checkpoint(tmp_path / "b" / "weights" / "last.pt")
    LOGGER.addHandler(caplog.handler)
    try:
        with files.locked(tmp_path / "b" / RUN_LOCK, lambda: None):
            assert latest_checkpoint(tmp_path) == older
            older.unlink()
            with pytest.raises(
                WeightsNotFoundError,
                match=r"0 finished runs are under .* and 1 that other processes train; --resume",
            ):
                latest_checkpoint(tmp_path)
    finally:
        LOGGER.removeHandler(caplog.handler)
    assert f"skipped: another process trains in {tmp_path / 'b'}" in caplog.text
    (tmp_path / "b" / RUN_LOCK).touch()  # as a killed process leaves it
    assert latest_checkpoint(tmp_path) == tmp_path / "b" / "weights" / "last.pt"


def test_the_newest_with_code_in_it_is_neither_skipped_nor_loaded_unless_trusted(tmp_path):
    _aged(_checkpoint(tmp_path / "a" / "weights" / "last.pt"), 30)
    newest = _checkpoint(tmp_path / "b" / "weights" / "last.pt")
    torch.save(
        {**torch.load(newest, weights_only=False), "extra": functools.partial(print, "pwned")},
        newest,
    )
    with pytest.raises(UnsafeWeightsError, match="--trust"):
        latest_checkpoint(tmp_path)
    assert latest_checkpoint(tmp_path, trust=True) == newest


def _of_fitness(path: Path, fitness: float | None, best: float | None) -> Path:
    content = torch.load(_checkpoint(path), weights_only=False)
    content |= {"best_fitness": best, "train_metrics": {"fitness": fitness}}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("own", "best_so_far", "held", "renewed"),
    [
        (0.9, 0.9, 0.1, True),
        (0.9, 0.9, "missing", True),
        (0.9, 0.9, "damaged", True),
        (0.9, 0.9, "stripped 0.1", True),
        (0.9, 0.9, "stripped 0.9", False),
        (0.9, 0.9, 0.9, False),
        (0.3, 0.9, 0.9, False),
        (0.3, 0.9, "missing", False),
        (None, None, 0.1, False),
    ],
)
def test_the_best_is_renewed_where_the_last_was_the_best_and_was_not_written(
    tmp_path, own, best_so_far, held, renewed
):
    last, best = _of_fitness(tmp_path / "last.pt", own, best_so_far), tmp_path / "best.pt"
    if held == "damaged":
        best.write_bytes(last.read_bytes()[:1000])
    elif held != "missing":
        _of_fitness(best, float(str(held).split()[-1]), 0.1)
        if "stripped" in str(held):
            strip_checkpoint(best)
    before = best.read_bytes() if best.exists() else None
    assert restore_best(best, last) is renewed
    now = best.read_bytes() if best.exists() else None
    assert now == (last.read_bytes() if renewed else before)


def test_a_run_that_is_finished_is_not_resumed(tmp_path):
    last = _checkpoint(tmp_path / "last.pt", epoch=1, epochs=3)
    assert resumable_checkpoint(last)["epoch"] == 1
    # killed between its last epoch and its end: what is left to do is done by --resume
    assert resumable_checkpoint(_checkpoint(tmp_path / "done.pt", epoch=1, epochs=2))["epoch"] == 1
    strip_checkpoint(last)
    with pytest.raises(ConfigError, match="not a checkpoint of an unfinished run"):
        resumable_checkpoint(last)
