"""Finds the weights that training starts from: a file, weights shipped here, or weights that
Ultralytics publishes.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from pathlib import Path

from ultralytics.utils import checks, downloads

from yolo_ema.engine.models.definition import find_definition
from yolo_ema.engine.setup.environment import cache_dir
from yolo_ema.errors import (
    DataError,
    OfflineError,
    WeightsError,
    WeightsNotFoundError,
    did_you_mean,
)
from yolo_ema.io.download import fetch, remote_size
from yolo_ema.io.resources import weights_dir

__all__ = ["default_pretrained", "published_weights", "resolve_pretrained"]

_LICENCE = "AGPL-3.0"
# The families that the shipped models build on; what else lies among the assets is of other kinds
# or under other licences.
_FAMILY = re.compile(r"yolo(v5|v8|11|26)[nslmx]\d?(u|-\w[\w-]*)?\.pt")
_MODEL = re.compile(r"(yolo(?:v5|v8|11|26)[nslmx])(?:-.*)?")


def published_weights() -> tuple[str, ...]:
    """Return the names of the weights that Ultralytics publishes for the families that the shipped
    models build on.
    """
    return tuple(sorted(name for name in downloads.GITHUB_ASSETS_NAMES if _FAMILY.fullmatch(name)))


def default_pretrained(model: str | Path) -> str | None:
    """Return the published weights that a model starts from: ``yolo11s.pt`` for ``yolo11s-ema``,
    ``yolov5su.pt`` for YOLOv5.

    Args:
        model: a name or path, as in `model_yaml`.

    Returns:
        The name for `resolve_pretrained`, or None where the model's name tells of no such family.

    Raises:
        ModelError: no such model.
    """
    named = _MODEL.fullmatch(find_definition(model).stem)
    name = _published_name(f"{named[1]}.pt") if named else ""
    return name if name in published_weights() else None


def resolve_pretrained(
    name_or_path: str | Path, *, offline: bool = False, base_url: str | None = None
) -> Path:
    """Return the path of a weights file, fetching it where it is one that Ultralytics publishes and
    is not here yet.

    Looked for in this order: the path itself, this project's weights, the cache folder,
    Ultralytics' published assets. Before a download, stderr says what is fetched, how large it is
    and under which licence.

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
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if len(path.parts) > 1:
        there = [one.name for one in path.parent.glob("*.pt")] if path.parent.is_dir() else []
        raise WeightsNotFoundError(
            f"no weights file at {path.absolute()}{did_you_mean(path.name, there)}"
        )
    name = _published_name(path.name if path.suffix else f"{path.name}.pt")
    cached = cache_dir() / "weights" / name
    for here in (weights_dir() / name, cached):
        if here.is_file():
            return here
    if name not in published_weights():
        shipped = (one.name for one in weights_dir().glob("*.pt"))
        closest = did_you_mean(name, (*published_weights(), *shipped))
        raise WeightsNotFoundError(
            f"{name_or_path} is no file here, and no published weights have that name{closest}"
        )
    if offline:
        raise OfflineError(
            f"{name} is not here and --offline forbids to fetch it; put it at {cached}, or give "
            f"its path"
        )
    _fetch(f"{base_url or _release_url()}/{name}", cached)
    return cached


def _fetch(url: str, target: Path) -> None:
    size = remote_size([url])
    how_large = "of unknown size" if size is None else f"{size / 1e6:.1f} MB"
    print(  # noqa: T201 - said before
        f"fetching {target.name} ({how_large}, by Ultralytics, licence {_LICENCE}) from {url} to "
        f"{target}",
        file=sys.stderr,
    )
    try:
        fetch([url], target)
    except DataError as error:
        raise WeightsError(f"{error}; or fetch it elsewhere and give its path") from error


def _published_name(name: str) -> str:
    """Return the name under which weights are published: those of YOLOv5 carry a u, as in
    ``yolov5su.pt``.
    """
    return checks.check_yolov5u_filename(name, verbose=False)


@functools.cache
def _release_url() -> str:
    """Return the address of the assets that the installed Ultralytics would download from."""
    release = inspect.signature(downloads.attempt_download_asset).parameters["release"].default
    return f"https://github.com/{downloads.GITHUB_ASSETS_REPO}/releases/download/{release}"
