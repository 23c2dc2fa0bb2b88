"""Where the files of an archive lie: paths as its records have them."""

from __future__ import annotations

import itertools
import os
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
