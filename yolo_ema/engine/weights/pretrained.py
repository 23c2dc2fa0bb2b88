"""Finds the weights that training starts from: a file, weights shipped here, or weights that
Ultralytics publishes.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

from ultralytics.utils import downloads

from yolo_ema.engine.models.published_weights import published_name, published_weights
from yolo_ema.errors import (
    DataError,
    OfflineError,
    WeightsError,
    WeightsNotFoundError,
    did_you_mean,
)
from yolo_ema.io.download import fetch, remote_size
from yolo_ema.io.machine import cache_dir, with_home
from yolo_ema.io.resources import weights_dir
from yolo_ema.io.text_files import say

_LICENCE = "AGPL-3.0"


def resolve_pretrained(
    name_or_path: str | Path, *, offline: bool = False, base_url: str | None = None
) -> Path:
    """Return the path of a weights file, fetching it where it is one that Ultralytics publishes and
    is not here yet.

    The path itself is tried first, then this project's weights, the cache folder, and Ultralytics'
    published assets. Before a download, stderr says what is fetched, how large it is and under
    which licence.

    Args:
        name_or_path: ``yolo11n.pt``, ``yolo11n``, or a path.
        offline: forbid the download.
        base_url: address of the folder to fetch from; by default Ultralytics' release that its
            installed version uses.

    Raises:
        WeightsNotFoundError: no such file, and no published weights of that name; the message has
            the closest.
        OfflineError: it would have to be fetched, and ``offline`` forbids that.
        WeightsError: it could not be fetched.
    """
    path = with_home(name_or_path)
    if path.is_file():
        return path
    if len(path.parts) > 1:
        names = [file.name for file in path.parent.glob("*.pt")] if path.parent.is_dir() else []
        raise WeightsNotFoundError(
            f"no weights file at {path.absolute()}{did_you_mean(path.name, names)}"
        )
    name = published_name(path.name if path.suffix else f"{path.name}.pt")
    cached = cache_dir() / "weights" / name
    for file in (weights_dir() / name, cached):
        if file.is_file():
            return file
    if name not in published_weights():
        shipped = (file.name for file in weights_dir().glob("*.pt"))
        closest = did_you_mean(name, (*published_weights(), *shipped))
        raise WeightsNotFoundError(
            f"there is no file {name_or_path}, and no published weights have that name{closest}"
        )
    if offline:
        raise OfflineError(
            f"{name} is not on this machine, and --offline forbids fetching it; put it at "
            f"{cached}, or give its path"
        )
    _fetch(f"{base_url or _release_url()}/{name}", cached)
    return cached


def _fetch(url: str, target: Path) -> None:
    size = remote_size([url])
    how_large = "of unknown size" if size is None else f"{size / 1e6:.1f} MB"
    say(
        f"fetching {target.name} ({how_large}, by Ultralytics, licence {_LICENCE}) from {url} to "
        f"{target}"
    )
    try:
        fetch([url], target)
    except DataError as error:
        raise WeightsError(f"{error}; or fetch it elsewhere and give its path") from error


@functools.cache
def _release_url() -> str:
    """Return the address of the assets that the installed Ultralytics would download from."""
    release = inspect.signature(downloads.attempt_download_asset).parameters["release"].default
    return f"https://github.com/{downloads.GITHUB_ASSETS_REPO}/releases/download/{release}"
