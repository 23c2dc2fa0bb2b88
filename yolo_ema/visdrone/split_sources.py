"""Where a split's files come from: folders and archives that the user has, or the public
archives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolo_ema.errors import ConfigError, DataNotFoundError, OfflineError
from yolo_ema.io.archives import is_archive, unpack
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.io.download import fetch, remote_size, shown_url
from yolo_ema.visdrone.split_folders import SplitFolder, find_splits, official_name, split_named

__all__ = [
    "LICENCE",
    "PUBLIC_ARCHIVES",
    "PUBLISHED_SPLITS",
    "Acquired",
    "acquire_public",
    "acquire_sources",
    "say",
]

PUBLISHED_SPLITS = ("train", "val", "test-dev")
"""The splits whose annotations are published, which are prepared unless others are asked for."""

PUBLIC_ARCHIVES = "https://github.com/ultralytics/assets/releases/download/v0.0.0"

LICENCE = "academic, non-commercial use only (commonly stated as CC BY-NC-SA 3.0), see https://github.com/VisDrone/VisDrone-Dataset"

_FETCHED = ".fetched"
"""Folder below the root that holds only what was fetched; it is gone once all of that is
unpacked.
"""

_GIVE = "give what you have: yolo-ema data prepare visdrone --source DIR_OR_ZIP …"


@dataclasses.dataclass(frozen=True)
class Acquired:
    """A split that is on this disk: its folders, whether the user gave it or it was fetched, and
    the archive it came in.
    """

    folder: SplitFolder
    origin: str
    archive: dict[str, Any] | None


def acquire_sources(
    sources: Sequence[Path], root: Path, wanted: Sequence[str], hashes: Mapping[str, str]
) -> dict[str, Acquired]:
    """Return the splits in the user's folders and archives. Archives are unpacked below ``root``;
    folders are used where they are.

    Raises:
        DataNotFoundError: a source is not there or holds no split, or a wanted split is in none of
            them.
        ArchiveError: an archive is unsafe, damaged or has another hash.
        ConfigError: a folder's name does not tell its split, or two sources hold the same one.
    """
    found: dict[str, Acquired] = {}
    for source in _expanded(sources):
        if source.is_file() or is_archive(source):
            folder, archive = _unpacked(source, root, hashes.get(source.name))
            splits = find_splits(folder, name=_stem(source), wanted=wanted)
        else:
            archive, splits = None, find_splits(source, wanted=wanted)
        for split in splits:
            if split.split in found:
                first = found[split.split].folder.images.parent
                raise ConfigError(
                    f"the split {split.split} is in {first} and in {split.images.parent}; give one "
                    f"of them"
                )
            found[split.split] = Acquired(split, "source", archive)
    if missing := [split for split in wanted if split not in found]:
        places = ", ".join(map(str, sources))
        raise DataNotFoundError(
            f"the split {missing[0]} is not in {places}; found {', '.join(sorted(found))}"
        )
    return {split: found[split] for split in (wanted or sorted(found, key=_order))}


def _expanded(sources: Sequence[Path]) -> list[Path]:
    """Return the sources, with a folder that holds archives of splits replaced by these."""
    expanded: list[Path] = []
    for source in sources:
        archives = [
            path
            for path in sorted(source.glob("*"))
            if path.is_file() and is_archive(path) and split_named(_stem(path))
        ]
        expanded += archives or [source]
    return expanded


def _order(split: str) -> int:
    return (*PUBLISHED_SPLITS, "test-challenge").index(split)


def acquire_public(
    splits: Sequence[str],
    root: Path,
    *,
    mirrors: Sequence[str],
    hashes: Mapping[str, str],
    offline: bool,
) -> dict[str, Acquired]:
    """Return the public splits; those not below ``root`` yet are fetched, after saying what, how
    large and under which licence.

    Raises:
        OfflineError: something would have to be fetched, and that is forbidden.
        DataError: no address gave an archive.
        ArchiveError: what came is no safe archive, or has another hash than the one given.
        DiskFullError: the disk is full.
    """
    archives = {split: _archive_of(split, root) for split in splits}
    missing = {
        split: archive
        for split, archive in archives.items()
        if _known(archive, root) is None and not archive.is_file()
    }
    if missing and offline:
        names = ", ".join(archive.name for archive in missing.values())
        raise OfflineError(f"{names} would have to be fetched, and --offline forbids it; {_GIVE}")
    bases = [base.rstrip("/") for base in (*mirrors, PUBLIC_ARCHIVES)]
    addresses = {
        split: [f"{base}/{archive.name}" for base in bases] for split, archive in missing.items()
    }
    _announce(addresses)
    found = {}
    for split, archive in archives.items():
        if split in missing:
            fetched = fetch(addresses[split], archive, sha256=hashes.get(archive.name))
            say(
                f"fetched {archive.name}: {_megabytes(fetched.size)}, SHA-256 {fetched.sha256}, "
                f"from {fetched.url}"
            )
        folder, about = _unpacked(archive, root, hashes.get(archive.name))
        _discard_fetched(archive, root)
        found[split] = Acquired(
            find_splits(folder, name=official_name(split), wanted=(split,))[0], "download", about
        )
    return found


def _archive_of(split: str, root: Path) -> Path:
    """Return the archive that the user put below the root, or else where a fetched one goes."""
    name = f"{official_name(split)}.zip"
    given = root / "archives" / name
    return given if given.is_file() else root / _FETCHED / name


def _discard_fetched(archive: Path, root: Path) -> None:
    """Remove an archive that is unpacked now, if it is one that was fetched and none of the
    user's.
    """
    if archive.parent == root / _FETCHED:
        archive.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another one lies there still, or nothing was fetched
            archive.parent.rmdir()


def _announce(addresses: Mapping[str, Sequence[str]]) -> None:
    if not addresses:
        return
    say(f"to be fetched, under these terms: {LICENCE}")
    for urls in addresses.values():
        size = remote_size(urls)
        say(
            f"  {shown_url(urls[0])}: "
            f"{_megabytes(size) if size is not None else 'the server does not state its size'}"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def say(text: str) -> None:
    """Print a line for the user on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - stdout is for the result


def _stem(archive: Path) -> str:
    name = archive.name
    while is_archive(Path(name)) or name.lower().endswith((".tar", ".gz", ".xz", ".bz2")):
        name = name.rpartition(".")[0]
    return name


def _folder_of(archive: Path, root: Path) -> Path:
    return root / "sources" / _stem(archive)


def _known(archive: Path, root: Path) -> dict[str, Any] | None:
    """Return what was noted when an archive of that name was unpacked whole; None where it
    wasn't.
    """
    folder = _folder_of(archive, root)
    note = folder.with_name(folder.name + ".json")
    return read_json(note) if note.is_file() and folder.is_dir() else None


def _unpacked(archive: Path, root: Path, sha256: str | None) -> tuple[Path, dict[str, Any]]:
    """Return the folder that an archive is unpacked to, and the archive's name, size and hash; what
    is unpacked already stays.
    """
    folder, known = _folder_of(archive, root), _known(archive, root)
    if (
        known is not None
        and (not archive.exists() or _is_same(archive, known))
        and sha256 in {None, known["sha256"]}
    ):
        return folder, {key: known[key] for key in ("name", "size", "sha256")}
    note, fresh = folder.with_name(folder.name + ".json"), folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    with tqdm(
        desc=f"unpacking {archive.name}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None,
        leave=False,
    ) as bar:
        unpack(archive, fresh, sha256=sha256, advance=bar.update)
    note.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    found = archive.stat()
    about = {"name": archive.name, "size": found.st_size, "sha256": sha256 or sha256_of(archive)}
    write_json(note, {**about, "path": str(archive.absolute()), "mtime_ns": found.st_mtime_ns})
    return folder, about


def _is_same(archive: Path, known: Mapping[str, Any]) -> bool:
    found = archive.stat()
    return (str(archive.absolute()), found.st_size, found.st_mtime_ns) == (
        known.get("path"),
        known.get("size"),
        known.get("mtime_ns"),
    )
