"""Where Ultralytics may use the network: the one switch, off unless a verb turns it on.

Ultralytics downloads what it misses (weights, datasets, fonts, converters) and installs packages on
the fly. Whatever this project asks of it runs inside `confined`: nothing is ever installed, and
only training and data preparation may download.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn
from unittest import mock

from ultralytics.data import utils as data_utils
from ultralytics.utils import checks, downloads

from yolo_ema.errors import OfflineError

__all__ = ["DownloadRefused", "confined"]


class DownloadRefused(OfflineError, ConnectionError):  # noqa: N818 - it is a verdict
    """A download was refused. Also a `ConnectionError`, which Ultralytics expects where it can do
    without the file.
    """


@contextlib.contextmanager
def confined(*, allow_downloads: bool = False) -> Iterator[None]:
    """Keep Ultralytics, inside this block, from installing packages and, unless allowed, from
    downloading.

    Args:
        allow_downloads: leave its downloads alone.

    Raises:
        OfflineError: from inside the block, where Ultralytics would have downloaded something that
            it needs.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(checks, "AUTOINSTALL", False))
        if not allow_downloads:
            for module, name in (
                (downloads, "safe_download"),
                (downloads, "get_github_assets"),
                (data_utils, "safe_download"),
            ):
                stack.enter_context(mock.patch.object(module, name, _refuse))
        yield


def _refuse(*arguments: Any, **named: Any) -> NoReturn:
    wanted = named.get("url") or (arguments[0] if arguments else "a file")
    raise DownloadRefused(
        f"{wanted} would be downloaded, which is forbidden here; fetch it yourself and give its "
        f"path"
    )
