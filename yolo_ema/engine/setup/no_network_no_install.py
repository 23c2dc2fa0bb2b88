"""Keeps Ultralytics and torch from downloading and installing.

Ultralytics downloads what it misses (weights, datasets, fonts, converters) and installs packages on
the fly; torch.hub downloads, too. Whatever this project asks of them runs inside
`no_network_no_install`. What is to be downloaded, weights and datasets, `yolo_ema.io.download`
fetches beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import torch.hub
from ultralytics.data import utils as data_utils
from ultralytics.utils import USER_CONFIG_DIR, checks, downloads

from yolo_ema.errors import OfflineError
from yolo_ema.io.atomic_files import write_bytes

_DOWNLOADERS = (
    (downloads, "safe_download"),
    (downloads, "get_github_assets"),
    (data_utils, "safe_download"),
    (torch.hub, "download_url_to_file"),
    (torch.hub, "urlopen"),
)


class DownloadRefused(OfflineError, ConnectionError):  # noqa: N818 - it is a verdict
    """A download was refused. Also a `ConnectionError`, which Ultralytics expects where it can do
    without the file.
    """


@contextlib.contextmanager
def no_network_no_install() -> Iterator[None]:
    """Refuse downloads and installing of packages by Ultralytics and torch.hub inside this block.

    Raises:
        OfflineError: inside the block, where something that is needed would be downloaded.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(checks, "AUTOINSTALL", False))
        for module, name in _DOWNLOADERS:
            stack.enter_context(mock.patch.object(module, name, _refuse))
        yield


def place_fonts() -> None:
    """Give Ultralytics' plots matplotlib's DejaVu Sans under the names of the fonts that they look
    for, where these are missing, so that Arial is not downloaded.
    """
    import matplotlib as mpl  # for training alone

    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        target = Path(USER_CONFIG_DIR) / name
        if not target.exists():
            write_bytes(target, font.read_bytes())


def _refuse(*arguments: Any, **named: Any) -> NoReturn:
    target = named.get("url") or (arguments[0] if arguments else "a file")
    address = getattr(target, "full_url", target)  # urllib's request
    raise DownloadRefused(
        f"{address} would be downloaded, which is forbidden here; fetch it yourself and give its "
        f"path"
    )
