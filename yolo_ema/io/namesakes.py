"""Files of one name in several folders, as cameras number them: which belongs to which, also where
they were moved.
"""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def counterparts(paths: Iterable[str], others: Iterable[str]) -> dict[str, list[str] | None]:
    """Return which files belong to each of several files of one name.

    A file belongs where its folder agrees most, counted from the last: ``card/101/a.csv`` to
    ``films/101/a.mp4``, and not to ``films/100/a.mp4``.

    Args:
        paths: the files.
        others: files that may belong to them.

    Returns:
        For each of ``paths`` those of ``others``, of one folder; none where they belong to another
        of ``paths``, and None where the folders do not tell.
    """
    paths, others = list(paths), list(dict.fromkeys(others))
    ours, theirs = _Folders(paths), _Folders(others)
    homes = {other: ours.nearest(other) for other in others}
    taken = {_folders(home[0]) for home in homes.values() if home}
    all_told = bool(others) and None not in homes.values()
    found: dict[str, list[str] | None] = {}
    for path in paths:
        near = theirs.nearest(path)
        home = homes[near[0]] if near else None
        if near and home and _folders(home[0]) == _folders(path):
            found[path] = near
        else:
            belongs_elsewhere = home is not None or (all_told and _folders(path) not in taken)
            found[path] = [] if belongs_elsewhere else None
    return found


class _Folders:
    """Files by their folders."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._of_tail: dict[tuple[str, ...], dict[tuple[str, ...], list[str]]] = defaultdict(dict)
        for path in dict.fromkeys(paths):
            folders = _folders(path)
            for depth in range(len(folders) + 1):
                self._of_tail[folders[:depth]].setdefault(folders, []).append(path)

    def nearest(self, path: str) -> list[str] | None:
        """Return the files of the folder that agrees most with a path's; None where several do
        equally.
        """
        folders = _folders(path)
        for depth in range(len(folders), -1, -1):
            found = self._of_tail.get(folders[:depth], {})
            if found:
                return next(iter(found.values())) if len(found) == 1 else None
        return None


def _folders(path: str) -> tuple[str, ...]:
    """Return the folders that a file is in, the last first."""
    return _parts(os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120 - of no link


@functools.lru_cache(maxsize=1 << 16)
def _parts(folder: str) -> tuple[str, ...]:
    return tuple(reversed(Path(folder).parts))
