"""Temporary folders that don't outlive their process for long: a killed one's are removed by the
next that starts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"
_NEW_S = 60.0
"""A younger folder may not be locked yet."""


@contextlib.contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Yield an empty folder in the system's temporary folder that is removed at the end.

    Folders of the same purpose, a word in their names, that belong to no living process are removed
    first.

    Raises:
        OSError: it cannot be made.
    """
    from filelock import FileLock

    prefix = f"yolo-ema-{purpose}-"
    _remove_stale(prefix)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name,
        FileLock(Path(name) / _LOCK),
    ):
        folder = Path(name) / "files"
        folder.mkdir()
        yield folder


def _remove_stale(prefix: str) -> None:
    from filelock import FileLock, Timeout

    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, Timeout):
            info = folder.lstat()
            is_ours = not hasattr(os, "getuid") or info.st_uid == os.getuid()
            if folder.is_symlink() or not is_ours or time.time() - info.st_mtime < _NEW_S:
                continue
            with FileLock(folder / _LOCK, timeout=0):  # fails while its process lives
                shutil.rmtree(folder / "files", ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
