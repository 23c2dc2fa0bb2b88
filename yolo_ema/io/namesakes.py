"""Files of one name in several folders, as cameras number them: which belongs to which, also where
they were moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path


def counterparts(path: str, peers: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return which files belong to one of several files of the same name.

    Args:
        path: the file.
        peers: all files of its kind and name, itself included.
        others: files that may belong to one of them, by name.

    Returns:
        Those of ``others`` whose folders agree with that of ``path`` most, counted from the last,
        and more than with those of its peers.
    """
    peers = set(peers)
    return [other for other in _nearest(path, others) if _nearest(other, peers) == [path]]


def _nearest(path: str, others: Iterable[str]) -> list[str]:
    shared = {other: _shared_folders(path, other) for other in others}
    most = max(shared.values(), default=0)
    return [other for other, count in shared.items() if count == most]


def _shared_folders(one: str, two: str) -> int:
    """Return in how many folders, counted from the last, two paths agree."""
    folders = zip(
        *(reversed(Path(path).absolute().parent.parts) for path in (one, two)), strict=False
    )
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], folders))
