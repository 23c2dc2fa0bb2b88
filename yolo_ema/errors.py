"""Every exception of this project, in one place.

    YoloEmaError
    ├── ConfigError        (ValueError)       exit 2  an option, setting or YAML is wrong
    ├── ModelError         (ValueError)       exit 2  a model name or model YAML is wrong
    ├── DataError          (ValueError)       exit 3  a dataset, annotation or archive is wrong
    │   ├── AnnotationError                           a row of an annotation or result file
    │   ├── ArchiveError                              an archive that is unsafe or damaged
    │   ├── TelemetryError                            where the camera was cannot be read
    │   ├── OutOfReachError                           a surface model elsewhere than the cameras
    │   └── DataNotFoundError (FileNotFoundError)
    ├── WeightsError       (ValueError)       exit 4  a weights file is wrong
    │   ├── WeightsNotFoundError (FileNotFoundError)
    │   ├── UnsafeWeightsError                        loading it would run code
    │   ├── DamagedWeightsError                       truncated, empty or of another kind
    │   └── TransferError                             too few of its tensors fit the model
    ├── SourceError        (OSError)          exit 5  an image, video, camera or stream
    │   ├── SourceRefusedError                        a server refuses: retrying is useless
    │   └── PartialResultsError                       some images of a list: holds the rest
    ├── MachineError       (RuntimeError)     exit 6  the machine lacks something
    │   ├── MissingPackageError (ImportError)         names the extra that brings it
    │   ├── OfflineError                              a download is needed and forbidden
    │   ├── DeviceMemoryError                         a GPU, or the machine, has too little memory
    │   └── DiskFullError  (OSError)                  names the last good file
    └── CheckFailedError   (RuntimeError)     exit 7  a gate refused: parity, demo, transfer

The command line prints the message in one line and exits with that number; 1 is an error that
nobody foresaw, 130 an interruption.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = [
    "AnnotationError",
    "ArchiveError",
    "CheckFailedError",
    "ConfigError",
    "DamagedWeightsError",
    "DataError",
    "DataNotFoundError",
    "DeviceMemoryError",
    "DiskFullError",
    "MachineError",
    "MissingPackageError",
    "ModelError",
    "OfflineError",
    "PartialResultsError",
    "SourceError",
    "SourceRefusedError",
    "TelemetryError",
    "TransferError",
    "UnsafeWeightsError",
    "WeightsError",
    "WeightsNotFoundError",
    "YoloEmaError",
    "did_you_mean",
    "first_line",
    "missing_packages_named",
]


class YoloEmaError(Exception):
    """Root of all errors that this project raises on purpose.

    Examples:
        >>> from yolo_ema import Detector, YoloEmaError
        >>> try:
        ...     Detector("no-such.pt")
        ... except YoloEmaError as error:
        ...     print(error.exit_code, error)
        4 there is no weights file no-such.pt...
    """

    exit_code = 1


class ConfigError(YoloEmaError, ValueError):
    """An option, a setting or a YAML entry is wrong."""

    exit_code = 2


class ModelError(YoloEmaError, ValueError):
    """A model's name or its YAML is wrong."""

    exit_code = 2


class DataError(YoloEmaError, ValueError):
    """A dataset is wrong."""

    exit_code = 3


class AnnotationError(DataError):
    """A row of an annotation or result file is wrong; the message names file and row."""


class ArchiveError(DataError):
    """An archive is damaged, has the wrong hash, or would write where it must not."""


class TelemetryError(DataError):
    """A file that should say where the camera was cannot be used.

    Attributes:
        reason: why, as a code of `yolo_ema.geo.pose.REASONS`.
    """

    def __init__(self, message: str, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class OutOfReachError(DataError):
    """A surface model does not cover the cameras, or has too much in their reach; it may do for
    others.
    """


class DataNotFoundError(DataError, FileNotFoundError):
    """A dataset, split, image folder or annotation file is not there."""


class WeightsError(YoloEmaError, ValueError):
    """A weights file cannot be used."""

    exit_code = 4


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """A weights file is not there."""


class UnsafeWeightsError(WeightsError):
    """Loading the weights file would run code that it carries."""


class DamagedWeightsError(WeightsError):
    """A weights file is truncated, empty, or a file of another kind."""


class TransferError(WeightsError):
    """Too few tensors of a weights file fit the model."""


class SourceError(YoloEmaError, OSError):
    """An image, video, camera or stream cannot be opened or read."""

    exit_code = 5


class SourceRefusedError(SourceError):
    """A server refuses a stream, or has something else there; another try would bring the same."""


class PartialResultsError(SourceError):
    """Some images of a list cannot be read; the others are done.

    Attributes:
        results: those of all images in their order, None where one failed.
    """

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = list(results)


class MachineError(YoloEmaError, RuntimeError):
    """The machine lacks something that the task needs."""

    exit_code = 6


class MissingPackageError(MachineError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class OfflineError(MachineError):
    """A download would be needed, and downloads are forbidden here."""


class DeviceMemoryError(MachineError):
    """A GPU, or the machine, has too little memory for what is asked of it."""


class DiskFullError(MachineError, OSError):
    """The disk is full; what was there before is untouched."""


class CheckFailedError(YoloEmaError, RuntimeError):
    """A gate refused what it was given: parity of an export, the demo's figures."""

    exit_code = 7


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, up to 200 characters; its kind without one."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def system_reason(error: OSError) -> str:
    """Return why the system refused, in its own words, or in those of what raised the error."""
    return error.strerror.lower() if error.strerror else str(error) or type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or "" where none is close."""
    likeness, closest = 0.6, ""
    for candidate in known:  # of equally close names the first: callers list the common ones first
        if (ratio := difflib.SequenceMatcher(a=candidate, b=str(name)).ratio()) > likeness:
            likeness, closest = ratio, candidate
    return f"; did you mean {closest!r}?" if closest else ""


@contextlib.contextmanager
def missing_packages_named(user: str) -> Iterator[None]:
    """Raise `MissingPackageError` for a package that is not installed, as in an installation for
    detection alone; ``user`` is what needs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "yolo_ema"}:
            raise
        raise MissingPackageError(
            f"{user} needs the package {package}, which is not installed here; install it with: "
            f"pip install yolo-ema (requirements-edge.txt brings what detect needs for exported "
            f"files alone)"
        ) from error
