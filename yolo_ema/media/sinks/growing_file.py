"""Files that grow record by record, and end with their last whole record on a full disk."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import IO

from yolo_ema.errors import DiskFullError
from yolo_ema.media.sinks.unique_paths import create_unique

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file has reached the largest size that this disk allows",
}


class GrowingFile:
    """An unbuffered file that takes each record whole or not at all, so that it can be read at any
    moment, after a kill and on a full disk too.

    Attributes:
        path: the file, or what it will become part of.
    """

    def __init__(
        self,
        path: Path,
        file: IO[bytes] | io.FileIO,
        kept: str = "it ends with its last whole record",
    ) -> None:
        """Wrap an open, unbuffered file.

        Args:
            path: named in errors.
            file: opened for writing, empty.
            kept: what the user has once the disk is full, as a clause for the error.
        """
        self.path = path
        self._file, self._kept = file, kept
        self._length = 0

    @classmethod
    def create(cls, folder: Path, stem: str, suffix: str, *, head: str = "") -> GrowingFile:
        """Create a text file under a free name. Raises `DiskFullError` if there is no space."""
        file = cls(*create_unique(folder, stem, suffix))
        file.append(head)
        return file

    def append(self, text: str) -> None:
        """Append whole lines. Raises `DiskFullError`; the file then ends with the record before."""
        # File names need not be valid UTF-8.
        self.write(text.encode("utf-8", "backslashreplace"))

    def write(self, content: bytes) -> None:
        """Write all of ``content`` at the current position, or nothing. Raises `DiskFullError`."""
        start, rest = self._file.tell(), memoryview(content)
        try:
            while rest:  # a disk that fills up accepts a part first and refuses the rest
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            self._length = max(start, self._length)
            self._file.truncate(self._length)
            self._file.seek(start)
            if full := no_room(error, self.path, self._kept):
                raise full from error
            raise
        self._length = max(self._length, self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, for formats that go back to complete their header."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        self._file.close()


def no_room(error: OSError, path: Path, kept: str) -> DiskFullError | None:
    """Return the error to raise if ``path`` cannot grow; None if ``error`` has another cause.

    Args:
        error: what writing raised.
        path: the file.
        kept: what the user has now, as a sentence without its full stop.
    """
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        return None
    return DiskFullError(
        f"disk full while writing {path}: {reason}; {kept}. Free some space, or write to another "
        f"disk, and run again."
    )
