"""Writes what is derived from a split below the root, and nothing else: links to the user's files,
YOLO labels, ignored regions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, is_hidden
from yolo_ema.io.atomic_files import disk_full_is_clear
from yolo_ema.visdrone.image_labels import LabelledImage, yolo_rows

FOLDERS = ("images", "labels", "ignored", "annotations")
"""Below each of them lies one folder per split."""

_TEXT = frozenset({".txt"})


def places_of(images: Iterable[LabelledImage]) -> frozenset[str]:
    """Return the places of everything that `write_split` derives from ``images``, as
    ``folder/file`` without the split.
    """
    places = set()
    for image in images:
        places |= {f"images/{image.key}{image.image.suffix}", f"labels/{image.key}.txt"}
        if len(image.ignored_xyxy):
            places.add(f"ignored/{image.key}.txt")
        if image.annotation is not None:
            places.add(f"annotations/{image.key}.txt")
    return frozenset(places)


def foreign_files(root: Path, split: str, places: Collection[str]) -> list[Path]:
    """Return the images and text files in a split's folders that are not among ``places``, and
    therefore not ours.
    """
    return [
        path
        for folder in FOLDERS
        for path, name in _files(root / folder / split)
        if f"{folder}/{name}" not in places
        and path.suffix.lower() in _suffixes(folder)
        and not is_hidden(path.name)
    ]


def remove_files(root: Path, split: str, places: Iterable[str]) -> None:
    """Remove what was derived for a split, as `places_of` names it, and leave everything else."""
    for place in places:
        folder, _, name = place.partition("/")
        (root / folder / split / name).unlink(missing_ok=True)


def write_split(root: Path, split: str, images: Iterable[LabelledImage]) -> None:
    """Derive a split below ``root`` from ``images``: what is right already stays, what is missing
    or different is written.

    ``images/<split>`` and ``annotations/<split>`` hold links to the user's files;
    ``labels/<split>`` rows of ``class x_center y_center width height`` and ``ignored/<split>`` rows
    of ``x_center y_center width height``, normalised to 0..1. An image without ignored regions has
    no file there.

    Raises:
        DiskFullError: the disk is full; what was written so far is whole.
    """
    for folder in FOLDERS:
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    for img in tqdm(images, desc=f"writing {split}", unit="image", disable=None, leave=False):
        image, text = f"{img.key}{img.image.suffix}", f"{img.key}.txt"
        link(img.image, root / "images" / split / image, root)
        _write(root / "labels" / split / text, yolo_rows(img.boxes_xyxy, img.image_wh, img.classes))
        if len(img.ignored_xyxy):
            _write(root / "ignored" / split / text, yolo_rows(img.ignored_xyxy, img.image_wh))
        if img.annotation is not None:
            link(img.annotation, root / "annotations" / split / text, root)


def link(source: Path, target: Path, root: Path) -> None:
    """Make ``target`` a symbolic link to ``source``, else a hard link, else a copy. ``source`` is
    only read.

    A link to a file below ``root`` is relative, so that the root can be moved.
    """
    source = source.absolute()
    inside = source.is_relative_to(root)
    pointer = os.path.relpath(source, target.parent) if inside else str(source)
    if _stands_for(target, source, pointer):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f".{target.name}.part")
    temp.unlink(missing_ok=True)
    with disk_full_is_clear(target):
        try:
            temp.symlink_to(pointer)
        except (OSError, NotImplementedError):  # some systems and file systems have none
            try:
                temp.hardlink_to(source)
            except (OSError, NotImplementedError):
                shutil.copy2(source, temp)
        temp.replace(target)


def _stands_for(target: Path, source: Path, pointer: str) -> bool:
    try:
        if target.is_symlink():
            return str(target.readlink()) == pointer
        old, new = target.stat(), source.stat()
    except FileNotFoundError:
        return False
    same_content = (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns)
    return os.path.samestat(old, new) or same_content


def _write(path: Path, content: str) -> None:
    """Write a small file so that it is there whole or not at all; one that is right already keeps
    its modification time.

    It is not flushed to the disk file by file, which would take minutes for thousands of them: a
    file that a crash leaves empty has another size than the fingerprint remembers, and is written
    again.
    """
    data = content.encode()
    try:
        if not path.is_symlink() and path.read_bytes() == data:
            return
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.part")
    with disk_full_is_clear(path):
        try:
            temp.write_bytes(data)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files and links below a folder with their place in it, ``/`` between folders."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            yield path, path.relative_to(folder).as_posix()


def folders_digest(folders: Iterable[tuple[Path, frozenset[str]]]) -> str:
    """Return a hash over path, size and modification time of the files below some folders, of the
    suffixes given with each; hidden ones do not count.

    Links are followed, so that a change of the file that a link leads to shows; one that leads
    nowhere shows as such.
    """
    digest = hashlib.sha256()
    for folder, suffixes in folders:
        digest.update(f"{folder.absolute()}\n".encode("utf-8", "surrogateescape"))
        for row in sorted(_stats(str(folder), "", suffixes)):
            digest.update(row.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _stats(folder: str, prefix: str, suffixes: frozenset[str]) -> Iterator[str]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _stats(entry.path, f"{prefix}{entry.name}/", suffixes)
            elif entry.name.lower().endswith(tuple(suffixes)):
                try:
                    info = entry.stat()
                except FileNotFoundError:
                    yield f"{prefix}{entry.name}\0gone\n"
                    continue
                yield f"{prefix}{entry.name}\0{info.st_size}\0{info.st_mtime_ns}\n"


def derived_digest(root: Path, split: str) -> str:
    """Return a hash over everything derived for a split."""
    return folders_digest((root / folder / split, _suffixes(folder)) for folder in FOLDERS)


def _suffixes(folder: str) -> frozenset[str]:
    return frozenset(DATASET_IMAGE_SUFFIXES) if folder == "images" else _TEXT
