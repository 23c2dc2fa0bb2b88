"""Disks that are full while a file grows, and memory cards that hold no file above 4 GB."""

from __future__ import annotations

import errno
from pathlib import Path

from yolo_ema.errors import DiskFullError

__all__ = ["no_room"]

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file has reached the largest size that this disk allows",
}


def no_room(error: OSError, path: Path, kept: str) -> DiskFullError | None:
    """Return what to raise where ``path`` can't grow; None where the error has another reason.

    Args:
        error: what writing raised.
        path: the file.
        kept: what the user has now, as a sentence without its full stop.
    """
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        return None
    return DiskFullError(
        f"disk full while writing {path}: {reason}; {kept}. Make room, or write to another disk, "
        f"and run again."
    )
