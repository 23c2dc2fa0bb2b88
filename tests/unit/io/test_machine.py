"""What the machine gives: cores, by the user's word or a container's quota; a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from yolo_ema.errors import ConfigError, MachineError
from yolo_ema.io import machine


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
        (None, 8),
    ],
)
def test_a_containers_quota_counts(monkeypatch, quota, cores):
    def read(*_: object, **__: object) -> str:
        if quota is None:
            raise FileNotFoundError
        return quota

    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine.Path, "read_text", read)
    assert machine.usable_cores() == cores


def test_threads_are_the_cores_unless_the_user_sets_them(monkeypatch):
    monkeypatch.setenv("YOLO_EMA_THREADS", "3")
    assert machine.thread_count() == 3
    monkeypatch.delenv("YOLO_EMA_THREADS")
    assert machine.thread_count() == machine.usable_cores()
    for wrong in ("0", "many", "-1", "²", "٣"):
        monkeypatch.setenv("YOLO_EMA_THREADS", wrong)
        with pytest.raises(ConfigError, match="YOLO_EMA_THREADS"):
            machine.thread_count()


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "own"))
    assert machine.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("YOLO_EMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.cache_dir() == tmp_path / "yolo-ema"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert machine.cache_dir() == Path.home() / ".cache" / "yolo-ema"


@pytest.fixture
def homeless(monkeypatch, tmp_path) -> Path:
    """A user number without a name, and without $HOME; the folder for temporary files."""
    pwd = pytest.importorskip("pwd")

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "YOLO_EMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_path_below_a_home_folder_that_is_not_there_stays_as_it_is(homeless):
    assert machine.with_home("~/a.pt") == Path("~/a.pt")
    assert machine.with_home("~nobody-here/a.pt") == Path("~nobody-here/a.pt")


def test_a_user_without_a_home_has_a_cache_of_their_own(homeless):
    assert machine.home_folder() is None
    folder = machine.cache_dir()
    assert folder == homeless / f"yolo-ema-cache-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert machine.cache_dir() == folder


@pytest.mark.parametrize("kind", ["another user's", "open to all", "a link", "a file"])
def test_a_cache_that_others_may_write_into_is_not_trusted(homeless, monkeypatch, kind):
    folder = homeless / f"yolo-ema-cache-{os.getuid()}"
    (homeless / "theirs").mkdir()
    if kind == "a link":
        folder.symlink_to(homeless / "theirs")
    elif kind == "a file":
        folder.write_bytes(b"")
    else:
        folder.mkdir(mode=0o700)
    if kind == "open to all":
        folder.chmod(0o777)
    if kind == "another user's":
        number = os.getuid()
        theirs = folder.rename(homeless / f"yolo-ema-cache-{number + 1}")
        monkeypatch.setattr(os, "getuid", lambda: number + 1)
        assert theirs.stat().st_uid == number
    with pytest.raises(MachineError, match=r"expected HOME or YOLO_EMA_CACHE .* is not this user"):
        machine.cache_dir()


CPUINFO = """processor\t: 0
model name\t: Made up
flags\t\t: fpu avx512f {flags}
vmx flags\t: ept amx_bf16

processor\t: 1
flags\t\t: fpu
"""


def test_processor_features_are_those_linux_reports(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert machine.processor_flags() == frozenset()
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flags="avx512_bf16"))
    assert machine.processor_flags() == {"fpu", "avx512f", "avx512_bf16"}
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd bf16\n")
    assert machine.processor_flags() == frozenset()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"meminfo": "MemTotal: 9 kB\nMemAvailable:   2000 kB\n"}, 2_048_000),
        ({"meminfo": "MemAvailable: 2000 kB\n", "memory.max": "max\n"}, 2_048_000),
        (
            {
                "meminfo": "MemAvailable: 2000 kB\n",
                "memory.max": "900000\n",
                "memory.current": "500000\n",
            },
            400_000,
        ),
        ({"memory.max": "500000\n", "memory.current": "600000\n"}, 0),
    ],
)
def test_available_memory(tmp_path, monkeypatch, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.available_memory_bytes() == expected


def test_peak_memory_without_what_only_unix_has(monkeypatch):
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=12_345_678))
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: process))

    def missing(path: Path, **_: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(machine.Path, "read_text", missing)
    assert machine.peak_memory_bytes() == 12_345_678
