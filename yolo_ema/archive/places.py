"""Where the files of an archive lie: paths as its records have them, and the sources above them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from yolo_ema.media.sources.folder_scan import has_wildcards


def absolute(path: str | Path) -> str:
    """Return a path from the root on, with ``/`` between folders on every system, as addresses
    have it.
    """
    return os.path.abspath(path).replace(os.sep, "/")  # noqa: PTH100 - links stay


def before_pattern(path: str) -> str:
    """Return the folders of an absolute path or an address that stand before its first pattern."""
    steps = itertools.takewhile(lambda part: not has_wildcards(part), path.split("/"))
    return "/".join(steps) or path[:1]


def source_above(file: str, words: Iterable[str]) -> str:
    """Return the first of the words for sources, absolute or addresses, that ``file`` lies below;
    an empty one where none is above it, as of a list.
    """
    folder = _steps(file.rpartition("/")[0])
    return next((word for word in words if folder.startswith(_steps(before_pattern(word)))), "")


def _steps(place: str) -> str:
    """Return a folder in a form that all spellings of it share: ``s3a://``, ``memory:///``."""
    path = place.partition("://")[2] if "://" in place else place
    return "/".join(["", *filter(None, path.split("/")), ""])
