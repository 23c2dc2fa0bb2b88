"""Where an archive's results lie: a folder, or an address that fsspec writes to. Both have the same
methods, and a file appears under its name only when whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from yolo_ema.errors import ConfigError
from yolo_ema.io.atomic_files import atomic_path, disk_full_is_clear, write_bytes
from yolo_ema.media.sources.addresses import is_address

_STALE_AFTER_S = 24 * 3600
"""What has not grown for so long belongs to a process that was killed, not to another run."""
_TRIES = 20


class Storage(Protocol):
    """Files by name, with ``/`` between folders.

    Attributes:
        place: the folder or address, as shown to the user.
    """

    place: str

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises `FileNotFoundError` where it is not there."""

    def lines(self, name: str) -> Iterator[str]:
        """Yield a text file's lines; memory holds one."""

    def exists(self, name: str) -> bool:
        """Say whether a file is there."""

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files in a folder, without it; none where it is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of the one that is there. Raises `DiskFullError`."""

    def put_file(self, local: Path, name: str) -> None:
        """Copy a local file, in place of the one that is there. Raises `DiskFullError`."""

    def put_folder(self, local: Path, name: str) -> None:
        """Copy all files below a local folder; what was under that name goes."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where it is not there."""


def open_storage(place: str) -> Storage:
    """Return the storage at a folder or an address.

    Raises:
        ConfigError: an address of an unknown kind.
        MissingPackageError: the package for such addresses is not installed.
    """
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    if not is_address(place):
        return LocalStorage(Path(place).absolute())
    from yolo_ema.archive.remote import RemoteStorage

    return RemoteStorage(place)


class LocalStorage:
    """A `Storage` in a folder of this machine, or one that all machines share."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, which need not exist yet.

        Raises:
            ConfigError: it is a file.
        """
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--out is {folder}, which is a file; expected a folder")
        self.place, self._folder = str(folder), folder

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises `FileNotFoundError` where it is not there."""
        return (self._folder / name).read_bytes()

    def lines(self, name: str) -> Iterator[str]:
        """Yield a text file's lines; memory holds one."""
        with (self._folder / name).open(encoding="utf-8", errors="replace") as file:
            yield from file

    def exists(self, name: str) -> bool:
        """Say whether a file is there."""
        return (self._folder / name).exists()

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files in a folder, without it; none where it is not there."""
        nothing = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with nothing, os.scandir(self._folder / folder) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith("."))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of the one that is there. Raises `DiskFullError`."""
        write_bytes(self._folder / name, content)

    def put_file(self, local: Path, name: str) -> None:
        """Copy a local file, in place of the one that is there. Raises `DiskFullError`."""
        # Of a process that was killed, the copy stays: DuckDB's *.parquet matches hidden files.
        with atomic_path(self._folder / name, keeps_suffix=False) as temp:
            shutil.copyfile(local, temp)

    def put_folder(self, local: Path, name: str) -> None:
        """Copy all files below a local folder, which appear together; what was under that name
        goes. Several runs may do so at once: the folder is that of the last one.
        """
        final = self._folder / name
        temp = _part_of(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        for part in final.parent.glob(f".{final.name}-*.part"):
            if time.time() - _last_touched(part) > _STALE_AFTER_S:  # of a process that was killed
                shutil.rmtree(part, ignore_errors=True)
        with disk_full_is_clear(final):
            try:
                _copy_tree(local, temp)
                _put_in_place(temp, final)
            finally:
                shutil.rmtree(temp, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where it is not there."""
        (self._folder / name).unlink(missing_ok=True)


def _part_of(final: Path) -> Path:
    return final.with_name(f".{final.name}-{uuid.uuid4().hex}.part")


def _last_touched(folder: Path) -> float:
    """Return when a folder, or anything in it, was last written, in seconds of the epoch; now where
    it has just gone.
    """
    times: list[float] = []
    try:
        for parent, _, files in os.walk(folder):
            times += (Path(parent, name).lstat().st_mtime for name in ("", *files))
    except FileNotFoundError:
        return time.time()
    return max(times, default=time.time())


def _put_in_place(temp: Path, final: Path) -> None:
    """Give a folder its name; what has it goes, and what another run gives it meanwhile, too."""
    for tries_left in reversed(range(_TRIES)):
        try:
            temp.rename(final)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not tries_left:
                raise
        else:
            return
        aside = _part_of(final)  # first out of the way: nobody sees half of it
        with contextlib.suppress(FileNotFoundError):  # another run was faster
            final.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _copy_tree(local: Path, copy: Path) -> None:
    """Copy files without their times, one by one: `shutil.copytree` hides which error it met."""
    for folder, _, files in os.walk(local):
        into = copy / Path(folder).relative_to(local)
        into.mkdir(parents=True, exist_ok=True)
        for name in files:
            shutil.copyfile(Path(folder) / name, into / name)
