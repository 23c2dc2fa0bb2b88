"""Temporary folders: gone at the end, swept after a kill, safe from other processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from yolo_ema.errors import DiskFullError, MachineError
from yolo_ema.io.scratch_folders import scratch_folder, temp_folder_named

HOLDS_ONE = """
import sys, time
from yolo_ema.io.scratch_folders import scratch_folder
with scratch_folder("test") as folder:
    (folder / "model.onnx").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """The system's temporary folder, for this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def other_process():
    """A living process with such a folder in which a file lies."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS_ONE], stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()
    process.stdout.close()


def age(folder: Path) -> None:
    """Make a folder look as if it had been made an hour ago."""
    os.utime(folder.parent, (time.time() - 3600,) * 2)


def test_it_is_empty_and_gone_at_the_end_even_after_an_error(temporary):
    with pytest.raises(ValueError, match="inside"), scratch_folder("test") as folder:
        assert folder.is_relative_to(temporary)
        assert list(folder.iterdir()) == []
        (folder / "half.onnx").write_bytes(b"half")
        raise ValueError("inside")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(temporary, other_process):
    process, left = other_process
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "model.onnx").exists()
    age(left)
    with scratch_folder("test") as folder:
        assert [one.name for one in temporary.iterdir()] == [folder.parent.name]


def test_folders_of_living_processes_new_ones_and_those_of_others_stay(temporary, other_process):
    _, living = other_process
    age(living)
    (temporary / "yolo-ema-test-new").mkdir()
    (temporary / "yolo-ema-bench-old").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "precious").write_text("keep")
    (temporary / "yolo-ema-test-link").symlink_to(temporary / "elsewhere")
    for name in ("yolo-ema-bench-old", "elsewhere"):
        os.utime(temporary / name, (0, 0))
    with scratch_folder("test"):
        pass
    assert (living / "model.onnx").exists()
    assert (temporary / "elsewhere" / "precious").exists()
    assert {one.name for one in temporary.iterdir()} >= {
        "yolo-ema-test-new",
        "yolo-ema-bench-old",
        "yolo-ema-test-link",
    }


def test_a_folder_that_is_missing_is_named_with_the_variable(temporary, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    with (
        pytest.raises(MachineError, match=r"temporary folder .*gone: No such file.*TMPDIR names"),
        scratch_folder("test"),
    ):
        pass
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(temporary / "gone")])
    with (
        pytest.raises(MachineError, match=r"No usable temporary directory .*TMPDIR names another"),
        scratch_folder("test"),
    ):
        pass


def test_a_full_disk_is_told_from_what_is_wrong_elsewhere(temporary):
    with pytest.raises(DiskFullError, match=f"{temporary}: No space left"), temp_folder_named():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), temp_folder_named():
        raise PermissionError(errno.EACCES, "Permission denied", "/flights/a.mp4")
    footage, own = temporary / "flights" / "a.mp4", temporary / "yolo-ema-test-1"
    with pytest.raises(PermissionError), temp_folder_named(own):
        raise PermissionError(errno.EACCES, "Permission denied", str(footage))
    with pytest.raises(MachineError, match="Permission denied"), temp_folder_named(own):
        raise PermissionError(errno.EACCES, "Permission denied", str(own / "jobs.jsonl"))
