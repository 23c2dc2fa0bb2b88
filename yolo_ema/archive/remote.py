"""Addresses through fsspec: object stores and the like, for sources and results."""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yolo_ema.errors import ConfigError, MachineError, MissingPackageError, YoloEmaError
from yolo_ema.io.atomic_files import disk_full_is_clear

_WHOLE_AT_ONCE = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "r2", "s3", "s3a"}
)
"""Object stores, where an object appears when its last byte has arrived."""
_EXTRA = 'install it with: pip install "yolo-ema[cloud]"'


def file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it.

    Raises:
        ConfigError: no such kind of address, or one that cannot be read.
        MissingPackageError: the package for it is not installed.
    """
    scheme = address.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address)
    except ImportError as error:
        raise MissingPackageError(f"{scheme}:// needs a package: {error}; {_EXTRA}") from error
    except ValueError as error:
        raise ConfigError(
            f"{scheme}:// is not an address that fsspec can read ({error}); expected a path, or "
            f"s3://, gs:// and the like"
        ) from error


OF_ONE_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""What is wrong with one file at an address; anything else is the machine's or the network's."""
_OF_ONE_OBJECT = frozenset({"403", "AccessDenied", "InvalidObjectState"})
"""S3's codes for an object that may not be read; expired credentials and a clock that is wrong are
a `PermissionError` of s3fs, too.
"""


def _is_of_one_file(error: Exception) -> bool:
    response = getattr(error.__cause__, "response", None)  # botocore's
    if isinstance(error, PermissionError) and isinstance(response, dict):
        return response.get("Error", {}).get("Code") in _OF_ONE_OBJECT
    return isinstance(error, OF_ONE_FILE)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError)


@contextlib.contextmanager
def _errors_name(place: str, passes: Callable[[Exception], bool] = _is_missing) -> Iterator[None]:
    """Raise `MachineError` for whatever a storage's package raises, which has no common root."""
    try:
        yield
    except YoloEmaError:
        raise
    except Exception as error:
        if passes(error):
            raise
        message = str(error) or type(error).__name__
        raise MachineError(f"{place}: {type(error).__name__}: {message}") from error


def fetch(address: str, folder: Path) -> Path:
    """Copy a file from an address into a folder and return its path there.

    Raises:
        OSError: one `OF_ONE_FILE`: it is not there, is a folder, or may not be read.
        DiskFullError: it does not fit into the folder.
        MachineError: the storage does not answer, or does not know who asks.
    """
    system, path = file_system(address)
    local = folder / path.rpartition("/")[2]
    with _errors_name(address, _is_of_one_file), disk_full_is_clear(local):
        try:
            system.get_file(path, str(local))
        except BaseException:
            local.unlink(missing_ok=True)
            raise
    return local


class RemoteStorage:
    """A `Storage` at an address that fsspec writes to."""

    def __init__(self, address: str) -> None:
        self.place = address.rstrip("/")
        self._system, path = file_system(self.place)
        self._root = path.rstrip("/")
        self._whole_at_once = self.place.partition("://")[0] in _WHOLE_AT_ONCE

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises `FileNotFoundError` where it is not there."""
        with _errors_name(f"{self.place}/{name}"):
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
        return content

    def lines(self, name: str) -> Iterator[str]:
        """Yield a text file's lines; memory holds a block of them."""
        with (
            _errors_name(f"{self.place}/{name}"),
            self._system.open(f"{self._root}/{name}", "rb") as file,
        ):
            yield from io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="\n")

    def exists(self, name: str) -> bool:
        """Say whether a file is there."""
        self._system.invalidate_cache()
        with _errors_name(f"{self.place}/{name}"):
            return bool(self._system.exists(f"{self._root}/{name}"))

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files in a folder, without it; none where it is not there."""
        self._system.invalidate_cache()
        with _errors_name(f"{self.place}/{folder}"), contextlib.suppress(FileNotFoundError):
            for path in self._system.ls(f"{self._root}/{folder}", detail=False):
                name = path.rstrip("/").rpartition("/")[2]
                if not name.startswith("."):
                    yield name

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of the one that is there."""
        with self._named_at_the_end(name) as path:
            self._system.pipe_file(path, content)

    def put_file(self, local: Path, name: str) -> None:
        """Copy a local file, in place of the one that is there."""
        with self._named_at_the_end(name) as path:
            self._system.put_file(str(local), path)

    def put_folder(self, local: Path, name: str) -> None:
        """Copy all files below a local folder, one after the other; what was under that name
        goes.
        """
        with _errors_name(f"{self.place}/{name}"), contextlib.suppress(FileNotFoundError):
            self._system.rm(f"{self._root}/{name}", recursive=True)
        for file in sorted(path for path in local.rglob("*") if path.is_file()):
            self.put_file(file, f"{name}/{file.relative_to(local).as_posix()}")

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where it is not there."""
        with _errors_name(f"{self.place}/{name}"), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def _named_at_the_end(self, name: str) -> Iterator[str]:
        path = f"{self._root}/{name}"
        folder, _, base = path.rpartition("/")
        temp = path if self._whole_at_once else f"{folder}/.{base}-{uuid.uuid4().hex}.part"
        with _errors_name(f"{self.place}/{name}"):
            if not self._whole_at_once:
                self._system.makedirs(folder, exist_ok=True)
            yield temp
            if temp != path:
                self._system.mv(temp, path)
