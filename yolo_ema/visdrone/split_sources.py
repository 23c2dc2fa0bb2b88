"""Where a split's files come from: the user's folders and archives, or the public ones."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from yolo_ema.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    OfflineError,
    did_you_mean,
)
from yolo_ema.io.archives import is_archive, unpack
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.io.download import fetch, remote_size, shown_url
from yolo_ema.io.text_files import say
from yolo_ema.visdrone.split_folders import SplitFolder, find_splits, official_name, split_named

PUBLISHED_SPLITS = ("train", "val", "test-dev")
"""The splits whose annotations are published, which are prepared unless others are asked for."""

PUBLIC_ARCHIVES = "https://github.com/ultralytics/assets/releases/download/v0.0.0"

LICENCE = "academic, non-commercial use only (commonly stated as CC BY-NC-SA 3.0), see https://github.com/VisDrone/VisDrone-Dataset"

_FETCHED = ".fetched"
"""Folder below the root for what was downloaded; removed once all is unpacked."""

_MARKER = ".unpacked-by-yolo-ema.json"
"""Lies in each folder that an archive was unpacked to, and holds what is known of the archive.
Folders without it are never removed.
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
    sources: Sequence[Path],
    root: Path,
    wanted: Sequence[str],
    hashes: Mapping[str, str],
    failures: dict[str, DataError],
) -> dict[str, Acquired]:
    """Return the splits in the user's folders and archives. Archives are unpacked below ``root``;
    folders are used where they are.

    Args:
        sources: folders and archives, and folders of archives.
        root: the prepared root.
        wanted: the splits asked for; empty for all that are found.
        hashes: SHA-256 by archive name.
        failures: takes the sources that hold no split, are damaged or unsafe, and the splits that
            none of them has; what was unpacked of such a source is removed.

    Raises:
        ConfigError: a folder's name does not tell its split, two sources hold the same one, or
            there is a hash for an archive that is not among them.
    """
    acquired: dict[str, Acquired] = {}
    expanded = _expanded(sources)
    archives = [source for source, _ in expanded if source.is_file() or is_archive(source)]
    _refuse_strays(hashes, archives)
    with contextlib.ExitStack() as undo:
        for source, name in expanded:
            with contextlib.ExitStack() as undo_source:
                try:
                    into = root / "sources" / name
                    folder, archive = _unpacked(source, into, hashes, undo_source)
                    of_archive = _stem(source) if archive else None
                    splits = find_splits(folder, name=of_archive, wanted=wanted)
                    _refuse_twice(splits, acquired)
                except DataError as error:
                    failures[str(source)] = error
                    continue
                acquired |= {split.split: Acquired(split, "source", archive) for split in splits}
                undo.push(undo_source.pop_all())
        undo.pop_all()
    for split in (split for split in wanted if split not in acquired):
        places, has = ", ".join(map(str, sources)), ", ".join(sorted(acquired)) or "none"
        failures[split] = DataNotFoundError(f"the split {split} is not in {places}; found {has}")
    order = (*PUBLISHED_SPLITS, "test-challenge")
    return {split: acquired[split] for split in (wanted or order) if split in acquired}


def _refuse_strays(hashes: Mapping[str, str], archives: Iterable[Path]) -> None:
    """Raise `ConfigError` where a hash is for an archive that is not used."""
    names = sorted(archive.name for archive in archives)
    for name in hashes:
        if name not in names:
            raise ConfigError(
                f"--sha256 names {name}; expected the file name of an archive that is used: "
                f"{', '.join(names) or 'here are only folders'}{did_you_mean(name, names)}"
            )


def _refuse_twice(splits: Sequence[SplitFolder], acquired: Mapping[str, Acquired]) -> None:
    for split in splits:
        if split.split in acquired:
            first = acquired[split.split].folder.images.parent
            raise ConfigError(
                f"the split {split.split} is in {first} and in {split.images.parent}; give one of "
                f"them"
            )


def _expanded(sources: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return the sources, with a folder that holds archives of splits replaced by these, and the
    name of the folder that each is unpacked to: its own, or with a number where two share it.
    """
    expanded: list[Path] = []
    for source in sources:
        archives = [
            path
            for path in sorted(source.glob("*"))
            if path.is_file() and is_archive(path) and split_named(_stem(path))
        ]
        expanded += archives or [source]
    names = [_folder_name(source) for source in expanded]
    return [
        (source, name if names.count(name) == 1 else f"{name}-{_digest(source)}")
        for source, name in zip(expanded, names, strict=True)
    ]


def _digest(source: Path) -> str:
    return hashlib.sha256(str(source.absolute()).encode("utf-8", "replace")).hexdigest()[:8]


def acquire_public(
    splits: Sequence[str],
    root: Path,
    *,
    mirrors: Sequence[str],
    hashes: Mapping[str, str],
    offline: bool,
    failures: dict[str, DataError],
) -> dict[str, Acquired]:
    """Return the public splits; those not below ``root`` yet are downloaded, after saying what, how
    large and under which licence.

    ``failures`` takes the splits that no address has, and those whose archive is damaged, unsafe,
    or has another hash than the one given.

    Raises:
        ConfigError: there is a hash for an archive that is not used.
        OfflineError: something would have to be fetched, and that is forbidden.
        DiskFullError: the disk is full.
    """
    archives = {split: _archive_of(split, root) for split in splits}
    _refuse_strays(hashes, [_archive_of(split, root) for split in {*PUBLISHED_SPLITS, *splits}])
    missing = {
        split: archive
        for split, archive in archives.items()
        if _known(_folder_of(archive, root)) is None and not archive.is_file()
    }
    if missing and offline:
        names = ", ".join(archive.name for archive in missing.values())
        raise OfflineError(f"{names} would have to be fetched, and --offline forbids it; {_GIVE}")
    addresses = {
        split: [_below(base, archive.name) for base in (*mirrors, PUBLIC_ARCHIVES)]
        for split, archive in missing.items()
    }
    _announce(addresses)
    acquired = {}
    for split, archive in archives.items():
        try:
            if split in missing:
                fetched = fetch(addresses[split], archive, sha256=hashes.get(archive.name))
                say(
                    f"fetched {archive.name}: {_megabytes(fetched.size)}, SHA-256 "
                    f"{fetched.sha256}, from {fetched.url}"
                )
            with contextlib.ExitStack() as undo:
                folder, details = _unpacked(archive, _folder_of(archive, root), hashes, undo)
                (of_split,) = find_splits(folder, name=official_name(split), wanted=(split,))[:1]
                acquired[split] = Acquired(of_split, "download", details)
                undo.pop_all()
        except DataError as error:
            failures[split] = error
            continue
        _discard_fetched(archive, root)
    return acquired


def _below(base: str, name: str) -> str:
    """Return the address of a file in a web folder; its query, which may be a key, stays."""
    parts = urlsplit(base)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()


def _archive_of(split: str, root: Path) -> Path:
    """Return the archive that the user put below the root, or else where a fetched one goes."""
    name = f"{official_name(split)}.zip"
    given = root / "archives" / name
    return given if given.is_file() else root / _FETCHED / name


def _discard_fetched(archive: Path, root: Path) -> None:
    """Remove an archive that is unpacked now, if it was fetched and is not the user's."""
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
        how_large = "the server does not state its size" if size is None else _megabytes(size)
        say(f"  {shown_url(urls[0])}: {how_large}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _stem(archive: Path) -> str:
    name = archive.name
    while is_archive(Path(name)) or name.lower().endswith((".tar", ".gz", ".xz", ".bz2")):
        name = name.rpartition(".")[0]
    return name


def _folder_name(archive: Path) -> str:
    """Return a name for what an archive is unpacked to, whatever the archive is called: ``...zip``
    has the stem ``..``, which is another folder.
    """
    return _stem(archive).strip(". ") or f"archive-{_digest(archive)}"


def _folder_of(archive: Path, root: Path) -> Path:
    return root / "sources" / _folder_name(archive)


def _known(folder: Path) -> dict[str, Any] | None:
    """Return what was noted when an archive was unpacked to a folder; None if that did not finish.

    Earlier roots have the note beside the folder.
    """
    for note in (folder / _MARKER, folder.with_name(f"{folder.name}.json")):
        try:
            content = read_json(note)
        except (OSError, ValueError):
            continue
        if folder.is_dir() and isinstance(content, dict) and "sha256" in content:
            return content
    return None


def _unpacked(
    source: Path, into: Path, hashes: Mapping[str, str], undo: contextlib.ExitStack
) -> tuple[Path, dict[str, Any] | None]:
    """Return the folder of a source, and name, size and hash of the archive it was unpacked from;
    None for a folder of the user's. ``undo`` takes the removal of what is unpacked now.
    """
    if not (source.is_file() or is_archive(source)):
        return source, None
    known, sha256 = _known(into), hashes.get(source.name)
    if known is not None and sha256 in {None, known["sha256"]} and _is_same(source, known):
        return into, {key: known[key] for key in ("name", "size", "sha256")}
    details = _unpack(source, into, sha256)
    undo.callback(_remove_unpacked, into)
    return into, details


def _is_same(archive: Path, known: Mapping[str, Any]) -> bool:
    if not archive.exists():
        return True
    info = archive.stat()
    return (str(archive.absolute()), info.st_size, info.st_mtime_ns) == (
        known.get("path"),
        known.get("size"),
        known.get("mtime_ns"),
    )


def _unpack(archive: Path, into: Path, sha256: str | None) -> dict[str, Any]:
    """Unpack an archive in place of what it was unpacked to before."""
    fresh = into.with_name(f".{into.name}.new")
    parts = into.parent.glob(f".{glob.escape(fresh.name)}-*.part")
    for leftover in (fresh, *parts):  # of a run that was killed
        if (leftover / _MARKER).is_file():
            _remove_unpacked(leftover)
    with tqdm(
        desc=f"unpacking {archive.name}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None,
        leave=False,
    ) as bar:
        unpack(archive, fresh, sha256=sha256, advance=bar.update, marker=_MARKER)
    info = archive.stat()
    details = {"name": archive.name, "size": info.st_size, "sha256": sha256 or sha256_of(archive)}
    note = {**details, "path": str(archive.absolute()), "mtime_ns": info.st_mtime_ns}
    write_json(fresh / _MARKER, note)
    _remove_unpacked(into)
    fresh.rename(into)
    return details


def _remove_unpacked(folder: Path) -> None:
    """Remove a folder that an archive was unpacked to.

    Raises:
        ConfigError: it holds something, and no marker says that it is ours.
    """
    if (folder / _MARKER).is_file():
        shutil.rmtree(folder)
    elif folder.exists():
        raise ConfigError(
            f"{folder} is in the way, and was not unpacked by this version of 'data prepare'; "
            f"it is left untouched: move it elsewhere, or give another --root"
        )
