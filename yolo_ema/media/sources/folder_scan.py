"""Files below a folder or matching a pattern: links are followed once, hidden files are skipped,
and what is left out is counted.
"""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from yolo_ema.constants import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_hidden
from yolo_ema.errors import system_reason

_MOST_KINDS = 8


@dataclass(frozen=True)
class LeftOut:
    """Files that were found at a place and are not read.

    Attributes:
        place: the folder or pattern, as given.
        count: how many.
        reason: why, and of which kinds.
    """

    place: str
    count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.count} left out: {self.reason}"


@dataclass
class FolderScan:
    """What lies at a place.

    Attributes:
        place: the folder or pattern, as given.
        files: images and videos, sorted.
        unreadable: folders that cannot be entered, and what else the system does not open, with the
            reason.
        other_kinds: how many files are neither image nor video, by suffix.
        hidden: how many images and videos, and folders, are hidden or an operating system's.
        broken_links: how many links lead nowhere.
    """

    place: str
    files: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    other_kinds: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    broken_links: int = 0

    def left_out(self) -> list[LeftOut]:
        """Return what is not read, a reason each."""
        groups = []
        if self.hidden:
            groups.append((self.hidden, "hidden, or files of an operating system"))
        if self.broken_links:
            groups.append((self.broken_links, "links that lead nowhere"))
        if self.other_kinds:
            groups.append((self.other_kinds.total(), f"neither image nor video ({self.kinds()})"))
        return [LeftOut(self.place, count, reason) for count, reason in groups]

    def kinds(self) -> str:
        """Return the other kinds in words, the most frequent first."""
        kinds = [
            f"{count} {suffix or 'without a suffix'}"
            for suffix, count in self.other_kinds.most_common(_MOST_KINDS)
        ]
        rest = len(self.other_kinds) - len(kinds)
        return ", ".join(kinds) + (f" and {rest} more kinds" if rest else "")

    def _report(self, path: Path, error: OSError) -> None:
        self.unreadable.append((path, f"{path} cannot be read: {system_reason(error)}"))

    def _take(self, path: Path) -> None:
        if is_media(path):
            self.files.append(path)
        else:
            self.other_kinds[path.suffix.lower()] += 1


def is_media(path: Path) -> bool:
    """Return whether a file is an image or a video by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def scan_folder(folder: Path) -> FolderScan:
    """Return what lies below a folder. A folder that several links lead to is entered once."""
    scan = FolderScan(str(folder))
    for below in _folders_below(folder, scan):
        for entry in _entries(below, scan):
            if entry.is_file():
                scan._take(below / entry.name)  # noqa: SLF001 - the same module
    scan.files.sort()
    return scan


def has_wildcards(specification: str) -> bool:
    """Return whether a name can be a pattern."""
    return any(sign in specification for sign in "*?[")


def scan_pattern(pattern: str, base: Path | None = None) -> FolderScan:
    """Return the files that match a pattern in which ``**`` stands for any folders below.

    As in a shell, names that begin with a dot match only patterns that do.

    Args:
        pattern: such as ``flight/**/*.jpg``.
        base: the folder that the pattern starts from, whose own name is never read as a pattern;
            None for the current one.
    """
    scan = FolderScan(pattern)
    parts = Path(pattern).parts
    start = base or Path()
    if parts and Path(parts[0]).is_absolute():
        start, parts = Path(parts[0]), parts[1:]
    for path in dict.fromkeys(_matches(start, parts, scan)):
        scan._take(path)  # noqa: SLF001 - the same module
    scan.files.sort()
    return scan


def _matches(folder: Path, parts: tuple[str, ...], scan: FolderScan) -> Iterator[Path]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        for below in _folders_below(folder, scan):
            yield from _matches(below, rest or ("*",), scan)
    elif not has_wildcards(part):
        path = folder / part
        if rest and os.path.isdir(path):  # noqa: PTH112 - says no to impossible names
            yield from _matches(path, rest, scan)
        elif not rest and os.path.isfile(path):  # noqa: PTH113
            yield path
    else:
        for entry in _entries(folder, scan, hidden=part.startswith(".")):
            if not fnmatch.fnmatch(entry.name, part):
                continue
            if rest and entry.is_dir():
                yield from _matches(folder / entry.name, rest, scan)
            elif not rest and entry.is_file():
                yield folder / entry.name


def _folders_below(folder: Path, scan: FolderScan) -> Iterator[Path]:
    """Yield a folder and all below it, each real one once; those that links lead to come last, so
    that a folder goes by its own name where it has one.
    """
    seen: set[str] = set()
    waiting: list[Path] = [folder]
    links: list[Path] = []
    while waiting or links:
        below = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(below)
        if real in seen:
            continue
        seen.add(real)
        yield below
        for entry in _entries(below, scan, count=False):
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(below / entry.name)


def _entries(
    folder: Path, scan: FolderScan, *, hidden: bool = False, count: bool = True
) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder but for hidden ones and links that lead nowhere."""
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        if count:
            scan._report(folder, error)  # noqa: SLF001 - the same module
        return
    for entry in entries:
        try:
            is_folder = entry.is_dir()  # kept by the entry: asked again, it does not fail
            problem = None
        except OSError as error:  # a link to itself, or into a folder that may not be entered
            is_folder, problem = False, error
        if is_hidden(entry.name) and not hidden:
            scan.hidden += count and (is_folder or is_media(Path(entry.name)))
        elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - no error
            scan.broken_links += count
        elif problem is None:
            yield entry
        elif count:
            scan._report(folder / entry.name, problem)  # noqa: SLF001
