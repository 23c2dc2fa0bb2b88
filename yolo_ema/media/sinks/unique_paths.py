"""Files under names that nothing has yet: what lies in a folder may be the very sources, or
somebody's work.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from yolo_ema.io.atomic_files import disk_full_is_clear

__all__ = ["create_fresh", "fresh_names", "move_fresh", "publish_fresh"]


def fresh_names(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    """Yield ``stem.suffix``, ``stem-2.suffix``, ``stem-3.suffix``, … in ``folder``, without end."""
    yield folder / f"{stem}{suffix}"
    yield from (folder / f"{stem}-{number}{suffix}" for number in itertools.count(2))


def create_fresh(folder: Path, stem: str, suffix: str) -> tuple[Path, io.FileIO]:
    """Create an empty file under the first free name and open it for writing, unbuffered.

    Raises:
        DiskFullError: there is no room.
    """
    with disk_full_is_clear(folder / f"{stem}{suffix}"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in fresh_names(folder, stem, suffix):
            with contextlib.suppress(FileExistsError):
                return path, path.open("xb", buffering=0)
    raise AssertionError("unreachable: the names have no end")


def publish_fresh(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    """Write a small file so that it appears whole, under the first free name; return that name.

    Unlike `yolo_ema.io.atomic_files.write_bytes` it does not wait for the disk: hundreds a second
    are written this way.

    Raises:
        DiskFullError: there is no room; nothing is left behind.
    """
    with disk_full_is_clear(folder / f"{stem}{suffix}"):
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{uuid.uuid4().hex}.part"
        try:
            beside.write_bytes(content)
            return move_fresh(beside, folder, stem, suffix)
        finally:
            beside.unlink(missing_ok=True)


def move_fresh(beside: Path, folder: Path, stem: str, suffix: str) -> Path:
    """Give a complete file of the same file system the first free name in ``folder``; return that
    name.
    """
    for path in fresh_names(folder, stem, suffix):
        try:
            path.hardlink_to(beside)  # unlike a rename, a link never replaces
        except FileExistsError:
            continue
        except OSError:  # some network drives and memory cards have no links
            if os.path.lexists(path):
                continue
            beside.rename(path)
            return path
        beside.unlink()
        return path
    raise AssertionError("unreachable: the names have no end")
