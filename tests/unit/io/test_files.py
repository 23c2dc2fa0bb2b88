from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from as_on_windows import flush_only_what_is_open_for_writing, keep_files_that_are_open

from yolo_ema.errors import DataError, DiskFullError
from yolo_ema.io.atomic_files import (
    atomic_path,
    locked,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)


def test_a_file_is_written_completely_and_nothing_is_left_next_to_it(tmp_path):
    path = tmp_path / "new" / "record.json"
    write_json(path, {"AP50": 31.5, "name": "Straße"})
    assert read_json(path) == {"AP50": 31.5, "name": "Straße"}
    assert [one.name for one in path.parent.iterdir()] == ["record.json"]


def test_a_file_is_written_where_windows_rules_hold(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_bytes(path, b"old")
    flush_only_what_is_open_for_writing(monkeypatch)
    keep_files_that_are_open(monkeypatch)
    write_json(path, {"AP50": 31.5})
    assert read_json(path) == {"AP50": 31.5}
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_refused_because_it_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x.json", {"AP": float("nan")})
    assert not list(tmp_path.iterdir())


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="stop"), atomic_path(path) as beside:
        beside.write_bytes(b"half of the n")
        raise RuntimeError("stop")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error_and_the_old_file_stays(tmp_path, code):
    path = tmp_path / "last.pt"
    write_bytes(path, b"old")
    with pytest.raises(DiskFullError, match=r"last\.pt.*intact"), atomic_path(path) as beside:
        beside.write_bytes(b"half")
        raise OSError(code, os.strerror(code))
    assert path.read_bytes() == b"old"


def test_other_system_errors_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_the_temporary_file_keeps_the_suffix_and_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "page.html") as beside:
            assert beside.suffix == ".html"
            beside.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640


def test_a_kill_at_any_moment_leaves_an_old_or_a_new_file_never_a_torn_one(tmp_path):
    path = tmp_path / "last.pt"
    size = 1 << 20
    write_bytes(path, b"\0" * size)
    script = (
        "import sys; from pathlib import Path; from yolo_ema.io.atomic_files import write_bytes\n"
        "print('go', flush=True); number = 0\n"
        f"while True:\n    number = (number + 1) % 256; write_bytes(Path(sys.argv[1]), "
        f"bytes([number]) * {size})\n"
    )
    for attempt in range(10):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.01 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = path.read_bytes()
        assert len(content) == size
        assert len(set(content)) == 1


@pytest.mark.parametrize("content", [b'{"epochs": [1, 2', b"\xff{}", b"[" * 100_000])
def test_a_cut_off_or_edited_file_is_no_json(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(DataError, match=r"run\.json is not JSON: .*; restore it, or remove it"):
        read_json(tmp_path / "run.json")


def test_sha256(tmp_path: Path):
    write_text(tmp_path / "x", "abc")
    assert (
        sha256_of(tmp_path / "x")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_one_process_at_a_time_holds_a_lock(tmp_path: Path):
    (tmp_path / "count").write_text("0")
    script = (
        "import sys; from pathlib import Path; from yolo_ema.io.atomic_files import locked\n"
        "count = Path('count')\n"
        "for _ in range(40):\n"
        "    with locked(Path('.lock'), lambda: None):\n"
        "        number = int(count.read_text()); count.write_text('')\n"
        "        count.write_text(str(number + 1))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "120"
    assert not (tmp_path / ".lock").exists()


def test_a_held_lock_may_be_refused(tmp_path: Path):
    def refuse() -> None:
        raise RuntimeError("taken")

    with locked(tmp_path / ".lock", refuse), pytest.raises(RuntimeError, match="taken"):  # noqa: SIM117
        with locked(tmp_path / ".lock", refuse):
            pass
    assert not (tmp_path / ".lock").exists()
