"""Entries of a tar archive that nobody vouches for, in bounded memory.

tarfile reads the headers of an entry whole, whatever size they declare: 312 KB of gzip with one GNU
long name become 4.1 GB. Here it reads through a stream that bounds what headers may take.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from yolo_ema.errors import ArchiveError

_DECOMPRESSORS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))

_HEADER_BYTES = 64 << 10
"""What the headers of one entry may take: its name, extended attributes, sparse map."""


def tar_entries(archive: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes]]]]:
    """Yield each entry and what opens its content, which can be read until the next entry is asked
    for.

    Args:
        archive: a tar file, plain or compressed by gzip, bzip2 or xz, whatever its name.

    Raises:
        ArchiveError: the headers of an entry are larger than any real ones.
        tarfile.TarError, lzma.LZMAError, zlib.error, EOFError: it is damaged, or not a tar.
    """
    with archive.open("rb") as file:
        start = file.read(6)
    opener = next((opens for sign, opens in _DECOMPRESSORS if start.startswith(sign)), Path.open)
    with opener(archive, "rb") as decompressed:
        stream = _BoundedStream(decompressed, archive)
        tar = tarfile.open(fileobj=stream, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115 - the stream is closed
        while (info := tar.next()) is not None:
            tar.members.clear()  # they are kept for look-ups that nobody does here
            stream.left = None
            yield info, functools.partial(_content, tar, info)
            stream.left = _HEADER_BYTES


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    if content is None:
        raise tarfile.ReadError(f"{info.name!r} has no content")
    return content


class _BoundedStream:
    """A decompressed tar, as far as tarfile needs it. ``left`` is the number of bytes that may be
    read as headers of an entry; None while its content is copied.
    """

    def __init__(self, stream: Any, archive: Path) -> None:
        self.left: int | None = _HEADER_BYTES
        self._stream, self._archive = stream, archive
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if self.left is not None:
            self.left -= size
            if size < 0 or self.left < 0:
                raise ArchiveError(
                    f"{self._archive} is refused: the headers of an entry take more than "
                    f"{_HEADER_BYTES} bytes"
                )
        with _damage_is_named():
            return bytes(self._stream.read(size))

    def seek(self, position: int) -> int:
        with _damage_is_named():
            return int(self._stream.seek(position))


@contextlib.contextmanager
def _damage_is_named() -> Iterator[None]:
    """Turn the plain `OSError` by which gzip and bzip2 report damage into tarfile's error."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise tarfile.ReadError(str(error)) from error
