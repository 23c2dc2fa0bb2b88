"""Temporary folders that don't outlive their process for long: a killed one's are removed by the
next that starts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from yolo_ema.errors import DiskFullError, MachineError, YoloEmaError

_LOCK = ".lock"
_ANOTHER = "expected a folder with free space; TMPDIR names another"
_NEW_S = 60.0
"""A younger folder may not be locked yet."""


@contextlib.contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Yield an empty folder in the system's temporary folder that is removed at the end.

    Folders of the same purpose, a word in their names, that belong to no living process are removed
    first.

    Raises:
        MachineError: it cannot be made.
    """
    from filelock import FileLock

    prefix = f"yolo-ema-{purpose}-"
    with contextlib.ExitStack() as kept:
        with temp_folder_named():
            _remove_stale(prefix)
            made = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
            name = kept.enter_context(made)
            kept.enter_context(FileLock(Path(name) / _LOCK))
            folder = Path(name) / "files"
            folder.mkdir()
        yield folder


@contextlib.contextmanager
def temp_folder_named(own: Path | None = None) -> Iterator[None]:
    """Raise `MachineError` for what goes wrong in the block with the system's temporary folder, as
    where it is missing, full or read-only. What is said of a file elsewhere is left alone, as is
    all that lies outside ``own``, where the block has a folder of its own there.
    """
    try:
        yield
    except YoloEmaError:
        raise
    except OSError as error:
        reason = no_temp_folder(error)
        if reason is None:
            folder = tempfile.gettempdir()
            inside = own or folder
            if error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(inside):
                raise
            reason = (
                f"nothing can be written into the temporary folder {folder}: "
                f"{error.strerror or error}; {_ANOTHER}"
            )
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (DiskFullError if is_full else MachineError)(reason) from error


def no_temp_folder(error: OSError) -> str | None:
    """Return what to say where Python finds no folder for temporary files; None for another error.

    It tries a file in each, so a full disk counts as none, too.
    """
    if not str(error.strerror).startswith("No usable temporary directory"):
        return None
    return f"no temporary folder can be written to: {error.strerror}; {_ANOTHER}"


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
