"""A text file that grows by whole records: readable at any moment, also after a kill or on a full
disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from yolo_ema.media.sinks.disk_room import no_room
from yolo_ema.media.sinks.unique_paths import create_fresh

__all__ = ["GrowingFile"]


class GrowingFile:
    """Appends records, each in one piece; a record that doesn't fit on the disk is taken back
    whole.
    """

    def __init__(self, folder: Path, stem: str, suffix: str, *, head: str = "") -> None:
        """Create a file that was not there. Raises `DiskFullError` where there is no room."""
        self.path, self._file = create_fresh(folder, stem, suffix)
        self._length = 0
        if head:
            self.append(head)

    def append(self, record: str) -> None:
        """Append whole lines. Raises `DiskFullError` where there is no room; the file then ends
        with the record before.
        """
        content = memoryview(
            record.encode("utf-8", "backslashreplace")
        )  # names of files need not be UTF-8
        try:
            written = 0
            while written < len(
                content
            ):  # a disk that fills takes a part first, and refuses the rest
                written += self._file.write(content[written:]) or 0
        except OSError as error:
            self._file.truncate(self._length)
            os.lseek(self._file.fileno(), self._length, os.SEEK_SET)
            if full := no_room(error, self.path, "it ends with its last whole record"):
                raise full from error
            raise
        self._length += len(content)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()
