"""Files under names that are still free: an output folder may hold the sources themselves, or
somebody's work.

What is not complete yet is written to a hidden ``.part`` file, locked as long as its process lives;
`remove_stale_parts` deletes those of processes that were killed.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import IO

from yolo_ema.io.atomic_files import disk_full_is_clear

try:
    import fcntl
except ImportError:  # Windows: parts of killed processes stay
    fcntl = None  # type: ignore[assignment]

_PART = re.compile(r"\.[0-9a-f]{32}\.part")
_NEW_S = 1.0
"""A younger part may not be locked yet."""


def numbered_paths(
    folder: Path, stem: str, suffix: str, reserved: Set[str] = frozenset()
) -> Iterator[Path]:
    """Yield ``stem.suffix``, ``stem-2.suffix``, ``stem-3.suffix``, … in ``folder``, endlessly, but
    for numbered stems that are ``reserved`` for others, in folded case.
    """
    yield folder / f"{stem}{suffix}"
    for number in itertools.count(2):
        if f"{stem}-{number}".casefold() not in reserved:
            yield folder / f"{stem}-{number}{suffix}"


def create_unique(
    folder: Path, stem: str, suffix: str, reserved: Set[str] = frozenset()
) -> tuple[Path, io.FileIO]:
    """Create an empty file under the first free name and open it for writing, unbuffered.

    Raises:
        DiskFullError: there is no space left.
    """
    with disk_full_is_clear(folder / f"{stem}{suffix}"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in numbered_paths(folder, stem, suffix, reserved):
            with contextlib.suppress(FileExistsError):
                return path, path.open("xb", buffering=0)
    raise AssertionError("unreachable: the names are endless")


def create_part(folder: Path) -> tuple[Path, io.FileIO]:
    """Create a hidden, locked file in ``folder`` and open it for writing, unbuffered; `move_unique`
    gives it its name.

    Raises:
        DiskFullError: there is no space left.
    """
    path = folder / f".{uuid.uuid4().hex}.part"
    with disk_full_is_clear(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("xb", buffering=0)
    if fcntl is not None:
        with contextlib.suppress(OSError):  # some network drives have no locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path, file


def write_unique(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    """Write a small file that appears whole, under the first free name; return its path.

    Unlike `yolo_ema.io.atomic_files.write_bytes` it does not wait for the disk: hundreds per second
    are written this way.

    Raises:
        DiskFullError: there is no space left; nothing is left behind.
    """
    with disk_full_is_clear(folder / f"{stem}{suffix}"):
        part, file = create_part(folder)
        try:
            with file:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
                _let_go(file)
                return move_unique(part, folder, stem, suffix)
        finally:
            part.unlink(missing_ok=True)


def assemble_unique(
    folder: Path, stem: str, suffix: str, fill: Callable[[IO[bytes]], None]
) -> Path:
    """Write a large file that appears only when whole and on the disk, under the first free name;
    return its path. Raises `OSError`; nothing is left behind.
    """
    part, raw = create_part(folder)
    try:
        with raw, io.BufferedWriter(raw) as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
            _let_go(file)
            return move_unique(part, folder, stem, suffix)
    finally:
        part.unlink(missing_ok=True)


def _let_go(file: IO[bytes]) -> None:
    """Close a part where no open file can be moved; elsewhere it stays locked until it has its
    name.
    """
    if fcntl is None:
        file.close()


def move_unique(
    part: Path, folder: Path, stem: str, suffix: str, reserved: Set[str] = frozenset()
) -> Path:
    """Give a file of the same file system the first free name in ``folder``; return its path."""
    for path in numbered_paths(folder, stem, suffix, reserved):
        try:
            path.hardlink_to(part)  # unlike a rename, a link never replaces
        except FileExistsError:
            continue
        except OSError:  # some network drives and memory cards have no links
            if os.path.lexists(path):
                continue
            part.rename(path)
            return path
        part.unlink()
        return path
    raise AssertionError("unreachable: the names are endless")


def remove_stale_parts(folder: Path) -> None:
    """Delete the parts in a folder whose process no longer lives; those of running ones stay."""
    if fcntl is None or not folder.is_dir():
        return
    for part in folder.iterdir():
        if not _PART.fullmatch(part.name):
            continue
        with contextlib.suppress(OSError), part.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > _NEW_S:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
                part.unlink()
