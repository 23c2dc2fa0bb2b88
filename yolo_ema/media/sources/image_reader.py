"""Reading an image file: upright, 8-bit BGR; too large ones are refused before decoding, damaged
ones with the right reason.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.io.image_header import LARGEST_PIXELS, ImageHeaderError, image_wh

__all__ = ["read_image"]

_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_START_OF_SCAN = 0xDA
_LARGE_PIXELS = 50_000_000


def read_image(path: Path, *, max_pixels: int = LARGEST_PIXELS) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 BGR, turned upright by its EXIF orientation; 16-bit is
    scaled to 8, alpha is dropped.

    Args:
        path: the image file.
        max_pixels: refuse larger images before decoding them, whatever size the file has on disk.

    Raises:
        SourceError: the file is missing, empty, no image, truncated, or larger than ``max_pixels``.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"no image at {path}")
    try:
        width, height = image_wh(path, max_pixels=max_pixels)
    except ImageHeaderError as error:
        raise SourceError(f"{path} {error}") from error
    content = path.read_bytes()
    if cut := _cut_short(content):
        raise SourceError(f"{path} is truncated: {cut}")
    try:
        if width * height < _LARGE_PIXELS:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        else:
            del content
            image = _decode_large(path, width, height)
    except cv2.error as error:
        raise SourceError(f"{path} cannot be decoded: {error.err}") from error
    if image is None:
        raise SourceError(
            f"{path} is damaged: its header says {width}x{height} pixels, but they cannot be "
            f"decoded"
        )
    return image


def _decode_large(path: Path, width: int, height: int) -> np.ndarray | None:
    """Decode into an array of ours: otherwise OpenCV holds the pixels twice. None where it finds no
    image.
    """
    try:
        return cv2.imread(str(path), np.empty((height, width, 3), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a quarter turn by EXIF wants the other shape
        return cv2.imread(str(path), np.empty((width, height, 3), np.uint8), cv2.IMREAD_COLOR)


def _cut_short(content: bytes) -> str:
    """Say why a JPEG or PNG is incomplete; decoders fill the missing part with grey and say
    nothing.
    """
    if content.startswith(b"\xff\xd8"):
        scan = _jpeg_scan_start(content)
        if scan is None or content.find(b"\xff\xd9", scan) < 0:
            return f"the JPEG ends after {len(content)} bytes without its end marker"
    if (
        content.startswith(b"\x89PNG")
        and content.find(b"IEND", max(0, len(content) - (1 << 16))) < 0
    ):
        return f"the PNG ends after {len(content)} bytes without its IEND chunk"
    return ""


def _jpeg_scan_start(content: bytes) -> int | None:
    """Return where a JPEG's pixels begin: the thumbnail inside EXIF has an end marker of its own,
    which must not count.
    """
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker == _JPEG_START_OF_SCAN:
            return at
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _JPEG_STANDALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
