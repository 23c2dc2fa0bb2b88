"""Sets Ultralytics up before it is first imported: importing `yolo_ema.engine` runs this module.

What is set, where the user has not set it:
    YOLO_OFFLINE=true         no DNS look-up, no telemetry and no update check
    YOLO_AUTOINSTALL=false    no package is installed at run time
    YOLO_CONFIG_DIR           Ultralytics' settings of the user's other projects stay as they are
    ULTRALYTICS_SAFE_LOAD=1   Ultralytics' own loading of weights goes by an allow-list
    NO_ALBUMENTATIONS_UPDATE=1  no request for Albumentations' newest version
    GOMP_SPINCOUNT=10000      torch's threads soon sleep where they wait for each other: on a busy
                              machine they would burn the time that the others need (docs/speed.md);
                              left alone where OMP_WAIT_POLICY or KMP_BLOCKTIME is set

OpenVINO and NNCF report their use unless a user has forbidden it. They cannot without their package
openvino_telemetry, so it cannot be imported in this process from here on, unless it already was.

A script that imports Ultralytics first has made these choices itself. What this project promises
does not rest on them: `weights.loading` rebuilds models from checked data, and
`no_network_no_install` keeps Ultralytics from installing and downloading.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import yolo_ema.io.image_header  # noqa: F401 - keeps Pillow's own way to open images
from yolo_ema.io.machine import cache_dir, thread_count

_LOG = logging.getLogger(__name__)

SUPPORTED_ULTRALYTICS = ("8.4.190", "8.5")
"""Lower bound (included) and upper bound (excluded), the same as in pyproject.toml."""

_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
_SPINS = "10000"


def _prepare_environment() -> None:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes importing it an ImportError
    if not any(os.environ.get(name) for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = _SPINS  # read when torch is loaded
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Ultralytics imports it late
    if "ultralytics" in sys.modules:
        return  # too late: it has read them
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(cache_dir() / "ultralytics"))  # made on first use
    logging.getLogger("ultralytics").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Say whether a message is worth showing: that Ultralytics made its settings file in this
    package's cache folder is not.
    """
    return not str(record.msg).startswith("Creating new Ultralytics Settings")


def warn_of_untested_ultralytics() -> None:
    """Say in the log that the tests do not cover the installed Ultralytics, and which they do."""
    try:
        version = importlib.metadata.version("ultralytics")
    except importlib.metadata.PackageNotFoundError:
        return  # whoever imports it says so
    low, high = SUPPORTED_ULTRALYTICS
    if not _numbers(low) <= _numbers(version) < _numbers(high):
        _LOG.warning(
            "Ultralytics %s is installed; yolo-ema is tested with %s up to, but not including, %s",
            version,
            low,
            high,
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:3])


def use_all_cores() -> int:
    """Give torch the threads of `thread_count`, and return their number.

    Ultralytics sets ``min(8, cpu_count - 1)`` threads when it selects a device, which leaves one of
    two cores idle, and most of many.

    Raises:
        ConfigError: ``$YOLO_EMA_THREADS`` is not a positive number.
    """
    import torch

    threads = thread_count()
    torch.set_num_threads(threads)
    return threads


@contextlib.contextmanager
def quiet_log(name: str = "ultralytics", level: int = logging.WARNING) -> Iterator[None]:
    """Let a logger, "" for the root, pass nothing below a level inside this block."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(max(before, level))
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Keep stdout for results: send Ultralytics' log, progress bars and prints to stderr."""
    handlers = [
        handler
        for handler in logging.getLogger("ultralytics").handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    before = [_set_stream(handler, sys.stderr) for handler in handlers]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            _set_stream(handler, stream)


def _set_stream(handler: logging.StreamHandler[Any], stream: Any) -> Any:
    """Return the stream that a handler had, which whoever captured output may have closed."""
    former = handler.stream
    if getattr(former, "closed", False):
        handler.stream = stream
    else:
        handler.setStream(stream)
    return former


_prepare_environment()
if os.environ.get("LOCAL_RANK", "0") == "0":  # once in a training on several GPUs, too
    warn_of_untested_ultralytics()
