"""Unpacks archives that nobody vouches for.

Whatever an archive says, nothing is written outside the folder it is given, at most a fixed
multiple of its own size is written inside, and no header is read whole before its size is known.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import lzma
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, is_hidden
from yolo_ema.errors import ArchiveError, DataNotFoundError, DiskFullError
from yolo_ema.io.atomic_files import disk_full_is_clear, sha256_of
from yolo_ema.io.bounded_tar import tar_entries

UNPACKED_SUFFIXES = DATASET_IMAGE_SUFFIXES | {".txt"}
"""Only these leave an archive: a dataset needs nothing else, and others might carry code."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")

_ZIP_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python expands the others whole, whatever size an entry declares."""

_PIECE = 1 << 20

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that an archive may unpack to.

    Attributes:
        ratio: unpacked bytes per packed byte, for each file and for all of them; photographs stay
            near 1, annotations below 10.
        small_bytes: up to this size the ratio of a file does not matter.
        total_bytes: all files together.
        members: number of entries.
    """

    ratio: int = 200
    small_bytes: int = 64 << 10
    total_bytes: int = 64 << 30
    members: int = 500_000


def is_archive(path: Path) -> bool:
    """Return whether the name is that of an archive which `unpack` can read."""
    return path.name.lower().endswith(_ARCHIVE_SUFFIXES)


def unpack(
    archive: Path,
    into: Path,
    *,
    sha256: str | None = None,
    limits: Limits | None = None,
    advance: Callable[[int], object] = lambda _: None,
    marker: str | None = None,
) -> int:
    """Unpack the images and text files of a zip or tar archive.

    Hidden files and what operating systems add (``__MACOSX``, ``._a.jpg``) are skipped.

    Args:
        archive: the archive; it is only read.
        into: a folder that does not exist yet; it appears only when whole.
        sha256: the hash that the archive must have, in hexadecimal.
        limits: the most that it may unpack to.
        advance: called with the number of bytes written since the last call.
        marker: name of an empty file that is made first, by which the folder is known to be ours.

    Returns:
        The number of files unpacked.

    Raises:
        ArchiveError: the hash is another, the archive is damaged or encrypted, an entry has an
            absolute path, ``..``, or is a link or a device, two entries have one name, `limits`
            would be exceeded, or it holds no image and no text file. Nothing is left behind.
        DataNotFoundError: the archive does not exist.
        DiskFullError: the disk has no room for what the archive holds.
    """
    if not archive.is_file():
        raise DataNotFoundError(f"the archive {archive} does not exist")
    if sha256 is not None and (digest := sha256_of(archive)) != sha256.lower():
        raise ArchiveError(
            f"{archive} has the SHA-256 {digest}, expected {sha256.lower()}; download it again, or "
            f"from elsewhere"
        )
    into.parent.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(prefix=f".{into.name}-", suffix=".part", dir=into.parent))
    try:
        with disk_full_is_clear(into):
            if marker is not None:
                (temp / marker).touch()
            count = _unpack_into(archive, temp, limits or Limits(), advance)
            temp.chmod(0o755)
            temp.rename(into)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ArchiveError(f"{archive} is damaged: an entry begins before the file does") from error
    except _DAMAGE as error:
        # After a colon come details that only a reader of tarfile's source understands.
        reason = str(error).partition(":")[0]
        raise ArchiveError(
            f"{archive} is damaged, or not a zip or tar archive: {reason}"
        ) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return count


@dataclasses.dataclass(frozen=True)
class _Member:
    name: str
    size: int
    packed_size: int | None
    is_folder: bool
    open: Callable[[], IO[bytes]]


def _unpack_into(
    archive: Path, folder: Path, limits: Limits, advance: Callable[[int], object]
) -> int:
    passed_over: list[str] = []
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            # A zip lists its entries in one place: all are checked before the first byte is
            # written.
            members = list(_checked(_zip_members(zipped, archive), archive, limits, passed_over))
            _check_room(sum(member.size for member, _ in members), folder, archive)
            count = _write(members, folder, archive, advance)
    else:
        checked = _checked(_tar_members(archive), archive, limits, passed_over)
        count = _write(checked, folder, archive, advance)
    if not count:
        raise ArchiveError(
            f"{archive} contains neither images nor annotations; {_found(passed_over)}"
        )
    return count


def _found(names: list[str]) -> str:
    if inner := [name for name in names if is_archive(Path(name))]:
        return f"it holds archives ({', '.join(inner[:3])}): unpack it and give these"
    return f"found {', '.join(names[:3]) or 'nothing'}"


def _zip_members(content: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in content.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise ArchiveError(
                f"{archive} is refused: {info.filename!r} is a link or a device; only files are "
                f"unpacked"
            )
        if info.flag_bits & 1:
            raise ArchiveError(f"{archive} is refused: {info.filename!r} is encrypted")
        if info.compress_type not in _ZIP_COMPRESSIONS:
            methods = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}
            method = methods.get(info.compress_type, f"method {info.compress_type}")
            raise ArchiveError(
                f"{archive} is refused: {info.filename!r} is compressed by {method}, which cannot "
                f"be unpacked within bounds; pack it as zip programs do by default (deflate)"
            )
        yield _Member(
            info.orig_filename,
            info.file_size,
            info.compress_size,
            info.is_dir(),
            functools.partial(content.open, info),
        )


def _tar_members(archive: Path) -> Iterator[_Member]:
    for info, content in tar_entries(archive):
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise ArchiveError(
                f"{archive} is refused: {info.name!r} is a link or a device; only files are "
                f"unpacked"
            )
        yield _Member(info.name, info.size, None, info.isdir(), content)


def _checked(
    members: Iterator[_Member], archive: Path, limits: Limits, passed_over: list[str]
) -> Iterator[tuple[_Member, PurePosixPath]]:
    """Yield each file with the place it may be written to; raise on the first entry that is
    unsafe. Names of files that are not unpacked go into ``passed_over``.
    """
    total, seen = 0, set()
    all_packed = archive.stat().st_size
    for count, member in enumerate(members, start=1):
        path = _place(member.name, archive)
        if count > limits.members:
            raise ArchiveError(f"{archive} is refused: it has more than {limits.members} entries")
        if member.is_folder:
            continue
        if str(path).casefold() in seen:
            raise ArchiveError(f"{archive} is refused: {member.name!r} is in it twice")
        seen.add(str(path).casefold())
        total += member.size
        if member.packed_size is not None:
            _check_ratio(member.size, member.packed_size, f"{member.name!r}", archive, limits)
        _check_ratio(total, all_packed, "its content", archive, limits)
        if total > limits.total_bytes:
            raise ArchiveError(
                f"{archive} is refused: it would unpack to more than {limits.total_bytes} bytes"
            )
        if any(map(is_hidden, path.parts)):
            continue
        if path.suffix.lower() in UNPACKED_SUFFIXES:
            yield member, path
        else:
            passed_over.append(path.name)


def _check_ratio(size: int, packed_size: int, item: str, archive: Path, limits: Limits) -> None:
    if size > limits.small_bytes and size > limits.ratio * packed_size:
        raise ArchiveError(
            f"{archive} is refused: {item} would unpack from {packed_size} to {size} bytes, more "
            f"than {limits.ratio} times; "
            "photographs and annotations never do"
        )


def _place(name: str, archive: Path) -> PurePosixPath:
    """Return an entry's place below the folder; raise where its name leads out of it, on any
    system.
    """
    plain = name.replace("\\", "/")
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        raise ArchiveError(f"{archive} is refused: {name!r} is an absolute path")
    if ".." in plain.split("/"):
        raise ArchiveError(
            f"{archive} is refused: {name!r} leads out of the folder it is unpacked to"
        )
    if any(ord(character) < 32 for character in plain):
        raise ArchiveError(f"{archive} is refused: {name!r} has control characters in its name")
    return PurePosixPath(plain)


def _check_room(size: int, folder: Path, archive: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DiskFullError(
            f"{archive} unpacks to {size} bytes, and {folder.parent} has {free} bytes free; "
            f"nothing was written"
        )


def _write(
    members: list[tuple[_Member, PurePosixPath]] | Iterator[tuple[_Member, PurePosixPath]],
    folder: Path,
    archive: Path,
    advance: Callable[[int], object],
) -> int:
    count = 0
    for member, path in members:
        left = member.size
        with member.open() as source, _new_file(folder / path, member.name, archive) as file:
            while piece := source.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise ArchiveError(
                        f"{archive} is refused: {member.name!r} holds more than the {member.size} "
                        f"bytes it declares"
                    )
                file.write(piece)
                advance(len(piece))
        if left:
            raise ArchiveError(f"{archive} is damaged: {member.name!r} ends {left} bytes early")
        count += 1
    return count


def _new_file(target: Path, name: str, archive: Path) -> IO[bytes]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except OSError as error:
        if error.errno in {
            errno.EEXIST,
            errno.ENOTDIR,
            errno.ENAMETOOLONG,
            errno.EINVAL,
            errno.EISDIR,
        }:
            raise ArchiveError(
                f"{archive} is refused: {name!r} cannot be a file here: {error.strerror}"
            ) from error
        raise
