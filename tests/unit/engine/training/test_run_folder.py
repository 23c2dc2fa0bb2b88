"""A run's folder: one process at a time, nothing left of killed runs, nothing kept of refused
ones.
"""

from __future__ import annotations

import os
import time

import pytest

from yolo_ema.engine.training.run_folder import discard_former_run, make_run_folder, open_run_folder
from yolo_ema.errors import ConfigError
from yolo_ema.io.atomic_files import locked


def test_a_second_process_is_kept_out(tmp_path):
    pytest.importorskip("fcntl")
    folder = make_run_folder(tmp_path, "mine")
    with (
        open_run_folder(folder, is_new=False),
        pytest.raises(ConfigError, match=f"another process is training in {folder}"),
        open_run_folder(folder, is_new=False),
    ):
        pass
    with open_run_folder(folder, is_new=False):
        pass
    assert list(folder.iterdir()) == []


def test_a_folder_in_use_is_not_removed_by_a_refused_process(tmp_path):
    pytest.importorskip("fcntl")
    folder = make_run_folder(tmp_path, "mine")
    with (
        locked(folder / ".lock", lambda: None),
        pytest.raises(ConfigError),
        open_run_folder(folder, is_new=False),
    ):
        pass
    assert folder.is_dir()


def test_half_written_files_of_a_killed_run_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    folder = make_run_folder(tmp_path, "mine")
    leftovers = [
        folder / ".run-x1.part.json",
        folder / "weights" / ".last-x2.part.pt",
        tmp_path / "cache" / "labels" / ".a-x3.part.npz",
    ]
    kept = [
        folder / "weights" / "last.pt",
        tmp_path / "cache" / "images" / ".b-x4.part.npy",  # of a process that may be running
    ]
    for file in leftovers + kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(leftovers[2], (yesterday, yesterday))
    with open_run_folder(folder, is_new=False):
        assert not any(file.exists() for file in leftovers)
    assert all(file.exists() for file in kept)


def test_checkpoints_of_a_former_run_go_but_for_those_that_are_named(tmp_path):
    weights = tmp_path / "weights"
    discard_former_run(tmp_path)
    weights.mkdir()
    for name in ("last.pt", "best.pt", "epoch3.pt", "notes.txt"):
        (weights / name).write_text(name)
    discard_former_run(tmp_path, keep=[weights / "best.pt", weights / ".." / "None"])
    assert sorted(path.name for path in weights.iterdir()) == ["best.pt", "notes.txt"]
