"""A folder and an address have the same methods, and files appear whole."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest

from yolo_ema.archive.remote import RemoteStorage, fetch
from yolo_ema.archive.storage import LocalStorage, Storage, open_storage
from yolo_ema.errors import ConfigError, DiskFullError, MachineError, MissingPackageError


@pytest.fixture(params=["folder", "memory", "renaming"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Storage:
    if request.param == "folder":
        return open_storage(str(tmp_path / "out"))
    if request.param == "renaming":  # as on servers where a file grows in sight
        monkeypatch.setattr("yolo_ema.archive.remote._WHOLE_AT_ONCE", frozenset())
    return open_storage(f"memory://{tmp_path.name}-{request.param}/out")


def test_files_are_written_read_and_removed(storage: Storage, tmp_path: Path) -> None:
    assert not storage.exists("detections/a.parquet")
    assert list(storage.names("detections")) == []
    with pytest.raises(FileNotFoundError):
        storage.read("archive.json")
    storage.write("detections/a.parquet", b"one")
    storage.write("detections/a.parquet", b"two")
    local = tmp_path / "local"
    local.write_text("first\nsecond\n")
    storage.put_file(local, "detections/b.parquet")
    assert sorted(storage.names("detections")) == ["a.parquet", "b.parquet"]
    assert storage.read("detections/a.parquet") == b"two"
    assert list(storage.lines("detections/b.parquet")) == ["first\n", "second\n"]
    assert storage.exists("detections/b.parquet")
    storage.remove("detections/b.parquet")
    storage.remove("detections/b.parquet")
    assert list(storage.names("detections")) == ["a.parquet"]


def test_a_folder_replaces_the_previous_one(storage: Storage, tmp_path: Path) -> None:
    for names in (("a.txt", "deep/b.txt"), ("c.txt",)):
        local = tmp_path / f"local {len(names)}"
        for name in names:
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_text(name)
        storage.put_folder(local, "files/1")
        assert sorted(name for name in storage.names("files/1") if name != "deep") == sorted(
            name for name in names if "/" not in name
        )
    assert storage.read("files/1/c.txt") == b"c.txt"
    assert list(storage.names("files")) == ["1"]


def test_a_half_copied_folder_does_not_exist(tmp_path: Path, monkeypatch) -> None:
    storage, local = LocalStorage(tmp_path / "out"), tmp_path / "local"
    local.mkdir()
    for name in ("a.txt", "b.txt"):
        (local / name).write_text(name)
    copy = shutil.copyfile

    def full(source: Path, target: Path) -> None:
        if Path(source).name == "b.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DiskFullError):
        storage.put_folder(local, "files/1")
    assert list((tmp_path / "out" / "files").iterdir()) == []
    monkeypatch.undo()
    storage.put_folder(local, "files/1")
    assert [path.name for path in (tmp_path / "out" / "files").iterdir()] == ["1"]


def test_what_a_killed_process_left_goes_after_a_day_and_what_grows_stays(tmp_path: Path) -> None:
    local, files = tmp_path / "local", tmp_path / "out" / "files"
    local.mkdir()
    parts = {name: files / f".1-{name}.part" for name in ("old", "new", "grows", "empty")}
    for name, part in parts.items():
        (part / "deep").mkdir(parents=True)
        if name != "empty":
            (part / "deep" / "a.txt").write_text(name)
        if name != "new":
            for path in (part, part / "deep", *part.glob("*/a.txt")):
                os.utime(path, (0, time.time() - 25 * 3600))
    os.utime(parts["grows"] / "deep" / "a.txt")
    LocalStorage(tmp_path / "out").put_folder(local, "files/1")
    assert {path.name for path in files.iterdir()} == {"1", ".1-new.part", ".1-grows.part"}


def test_two_runs_may_put_the_same_folder_at_once(tmp_path: Path) -> None:
    names = [f"{number}.txt" for number in range(5)]
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        for name in names:
            (tmp_path / run / name).write_text(run)
    problems, together = [], threading.Barrier(2)

    def put(run: str) -> None:
        storage = LocalStorage(tmp_path / "out")
        try:
            for _ in range(150):
                together.wait(timeout=30)
                storage.put_folder(tmp_path / run, "files/1")
        except Exception as error:  # shown below
            problems.append(error)
            together.abort()

    runs = [threading.Thread(target=put, args=(run,)) for run in ("first", "second")]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert problems == []
    assert [path.name for path in (tmp_path / "out" / "files").iterdir()] == ["1"]
    found = {(tmp_path / "out" / "files" / "1" / name).read_text() for name in names}
    assert found in ({"first"}, {"second"})


def test_impossible_requests(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="which is a file; expected a folder"):
        open_storage(str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="nonsense:// is not an address"):
        open_storage("nonsense://bucket/out")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingPackageError, match=r'pip install "yolo-ema\[cloud\]"'):
        open_storage("gs://bucket/out")
    with pytest.raises(FileNotFoundError):
        fetch("memory://nowhere/a.mp4", tmp_path)

    class Refusing(type(fsspec.filesystem("memory"))):
        cachable = False

        def pipe_file(self, *_: object, **__: object) -> None:
            raise RuntimeError("no credentials")

    storage = RemoteStorage("memory://bucket/out")
    monkeypatch.setattr(storage, "_system", Refusing())
    with pytest.raises(MachineError, match=r"memory://bucket/out/a: RuntimeError: no credentials"):
        storage.write("a", b"")


def test_a_file_that_a_killed_process_left_half_copied_is_no_parquet_file(
    tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "local.parquet").write_bytes(b"rows")
    seen = []

    def copy(source: Path, target: Path) -> None:
        seen.extend(target.parent.glob("*.parquet"))
        assert target.parent.name == "detections"
        target.write_bytes(source.read_bytes())
        seen.extend(path.name for path in target.parent.iterdir() if path.suffix == ".parquet")

    monkeypatch.setattr("yolo_ema.archive.storage.shutil.copyfile", copy)
    storage = open_storage(str(tmp_path / "out"))
    storage.put_file(tmp_path / "local.parquet", "detections/a.parquet")
    assert not seen
    assert storage.read("detections/a.parquet") == b"rows"
    assert [path.name for path in (tmp_path / "out/detections").iterdir()] == ["a.parquet"]
