"""Files that appear under their name only when whole: written under a temporary one, flushed to the
disk, renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yolo_ema.errors import DataError, DiskFullError


@contextlib.contextmanager
def disk_full_is_clear(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" while writing ``path`` into a `DiskFullError` that
    says what is intact.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT} or isinstance(error, DiskFullError):
            raise
        kept = (
            "the file that was there before is intact"
            if path.exists()
            else "no partial file is left"
        )
        raise DiskFullError(
            f"disk full while writing {path}; {kept}. Free some space and run the same command "
            f"again."
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path, *, keeps_suffix: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block succeeds, and is removed
    if it fails.

    Args:
        path: the final file; its folder is created if missing.
        keeps_suffix: the temporary path ends as ``path`` does, since many writers choose the format
            by it. Otherwise it ends in ``.part``, so that no pattern of finished files matches it.

    Raises:
        DiskFullError: the disk or the quota is full; the old file is intact.
    """
    path = Path(path)
    prefix, suffix = (
        (f".{path.stem}-", f".part{path.suffix}") if keeps_suffix else (f".{path.name}-", ".part")
    )
    with disk_full_is_clear(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        os.close(handle)
        temp = Path(name)
        try:
            yield temp
            with temp.open("r+b") as file:  # Windows flushes only what is open for writing
                os.fsync(file.fileno())
            temp.chmod(0o666 & ~_umask())
            temp.replace(path)
            _fsync_folder(path.parent)
        finally:
            temp.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable, on file systems that can (not Windows, nor some network drives)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically. Raises `DiskFullError` with the old file intact."""
    with atomic_path(path) as temp:
        temp.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` to ``path`` atomically as UTF-8 with unix line ends."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` atomically as indented JSON; NaN is refused, since it isn't
    JSON.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`. Raises `DataError` if it was cut off or edited."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON: {error}; restore it, or remove it to have it made again"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, reading it in pieces; of a folder, that
    of its files' names and digests.
    """
    digest = hashlib.sha256()
    if Path(path).is_dir():
        for inner in sorted(inner for inner in Path(path).rglob("*") if inner.is_file()):
            digest.update(f"{inner.relative_to(path).as_posix()}\0{sha256_of(inner)}\0".encode())
        return digest.hexdigest()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path, taken: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; it is removed at the end. The lock of a
    process that dies is free again.

    Args:
        path: the lock file; its folder must exist.
        taken: called if another process has the lock. It may raise; otherwise the lock is waited
            for.

    Raises:
        OSError: the file cannot be created.
    """
    from filelock import FileLock, Timeout  # 60 ms that every other command does without

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        taken()
        lock.acquire()
    while not path.exists():  # what was locked is the file that its last holder has removed
        lock.release()
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file: it stays there, empty
            path.unlink()
        lock.release()


def is_locked(path: Path) -> bool:
    """Say whether a process holds the lock file ``path`` now, by `locked`."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # not to be opened: whoever wants the lock is told
        return False
