"""Cameras of this machine, by index or device file, through OpenCV."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from yolo_ema.errors import SourceError, SourceRefusedError
from yolo_ema.media.frames import exact_rate
from yolo_ema.media.sources.live_reader import LiveReader
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.source import LiveSource

_DEVICES = Path("/dev")
_ON_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True)
class CameraSource(LiveSource):
    """A camera.

    Attributes:
        device: its number, or its device file.
    """

    device: str
    network: NetworkOptions = NetworkOptions()  # noqa: RUF009 - frozen

    @property
    def name(self) -> str:
        """``camera 0``, or the device file."""
        return f"camera {self.device}" if self.device.isdecimal() else self.device

    @property
    def stem(self) -> str:
        """``camera-0``, or the device file's name."""
        return f"camera-{self.device}" if self.device.isdecimal() else Path(self.device).name

    def open(self) -> LiveReader:
        """Return a reader; the camera is opened when frames are asked for."""
        return LiveReader(self, lambda: CameraConnection(self), self.network)


class CameraConnection:
    """A camera while it is open."""

    damaged = missing_frames = 0
    pixel_aspect: Fraction | None = None
    notes: Sequence[str] = ()

    def __init__(self, source: CameraSource) -> None:
        self.frame_rate: Fraction | None = None
        self.finite = False
        self._source = source
        self._closed = False
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Open the camera. Raises `SourceError` if it is missing, forbidden or in use."""
        device = self._source.device
        if _ON_LINUX:
            _check_device(self._source)
        which = int(device) if device.isdecimal() else device
        self._capture = cv2.VideoCapture(which, cv2.CAP_V4L2 if _ON_LINUX else cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise SourceError(
                f"{self._source.name} cannot be opened: it is in use by another program, or "
                f"not a camera"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = exact_rate(rate) if 0 < rate <= 1000 else None

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield images. Raises `SourceError` when the camera delivers none."""
        if self._capture is None:
            return
        try:
            while not self._closed:
                read, image_bgr = self._capture.read()
                if not read or image_bgr is None:
                    raise SourceError(
                        f"{self._source.name} delivers no image; it may have been unplugged"
                    )
                yield image_bgr, None
        finally:
            self._capture.release()

    def close(self) -> None:
        """Ask the reading thread to stop after its next image."""
        self._closed = True


def _check_device(source: CameraSource) -> None:
    path = _DEVICES / f"video{source.device}" if source.device.isdecimal() else Path(source.device)
    if not path.exists():
        numbers = sorted(file.name.removeprefix("video") for file in _DEVICES.glob("video[0-9]*"))
        known = f"cameras here: {', '.join(numbers)}" if numbers else "there is no camera here"
        raise SourceRefusedError(f"{source.name} is not there ({path} is missing); {known}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceRefusedError(
            f"{source.name} cannot be used ({path}: permission denied); add yourself to the group "
            f"'video'"
        )
