"""Keeps Ultralytics and torch from downloading and installing.

Ultralytics downloads what it misses (weights, datasets, fonts, converters) and installs packages on
the fly; torch.hub downloads, too. Whatever this project asks of them runs inside
`no_network_no_install`. What is to be downloaded, weights and datasets, `yolo_ema.io.download`
fetches beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn
from unittest import mock

import torch.hub
from ultralytics.data import utils as data_utils
from ultralytics.utils import checks, downloads

from yolo_ema.errors import OfflineError

_DOWNLOADERS = (
    (downloads, "safe_download"),
    (downloads, "get_github_assets"),
    (data_utils, "safe_download"),
    (torch.hub, "download_url_to_file"),
    (torch.hub, "urlopen"),
)


class DownloadRefused(OfflineError, ConnectionError):  # noqa: N818 - it is a verdict
    """A download was refused; a `ConnectionError`, too, as Ultralytics expects."""


@contextlib.contextmanager
def no_network_no_install() -> Iterator[None]:
    """Refuse downloads and installing of packages by Ultralytics and torch.hub inside this block.

    Raises:
        OfflineError: from inside the block, where something would have been downloaded that is
            needed.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(checks, "AUTOINSTALL", False))
        for module, name in _DOWNLOADERS:
            stack.enter_context(mock.patch.object(module, name, _refuse))
        yield


def _refuse(*arguments: Any, **named: Any) -> NoReturn:
    wanted = named.get("url") or (arguments[0] if arguments else "a file")
    address = getattr(wanted, "full_url", wanted)  # urllib's request
    raise DownloadRefused(
        f"{address} would be downloaded, which is forbidden here; fetch it yourself and give its "
        f"path"
    )
