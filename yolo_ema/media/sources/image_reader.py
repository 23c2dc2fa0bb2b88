"""Reads an image file as upright 8-bit BGR; too large ones are refused before decoding, damaged
ones with the true reason.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import cv2
import numpy as np

from yolo_ema.errors import SourceError, system_reason
from yolo_ema.io.image_header import LARGEST_PIXELS, ImageHeader, ImageHeaderError, read_header
from yolo_ema.io.tiff_file import band_as_grey, bands_as_rgb, main_page, tiff_pages
from yolo_ema.media.sources.jpeg_decoder import decode_jpeg, upright

_LARGE_PIXELS = 50_000_000


def read_image(path: Path, *, max_pixels: int = LARGEST_PIXELS) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 BGR, turned upright by its EXIF orientation; 16 bits are
    scaled to 8, alpha and further bands are dropped.

    Args:
        path: the image file.
        max_pixels: refuse larger images before decoding them, whatever size the file has on disk.

    Raises:
        SourceError: the file is missing, may not be read, is empty, not an image, truncated or
            damaged, or larger than ``max_pixels``.
    """
    path = Path(path)
    content = _content_of(path)
    if content is None:
        raise SourceError(f"no image at {path}")
    if not content:
        raise SourceError(f"{path} is empty (0 bytes)")
    try:
        header = read_header(io.BytesIO(content), max_pixels=max_pixels)
        image = _decoded(path, content, header)
    except (ImageHeaderError, ValueError) as error:
        raise SourceError(f"{path} {error}") from error
    except cv2.error as error:
        raise SourceError(f"{path} cannot be decoded: {error.err}") from error
    if image is None:
        width, height = header.stored_wh
        raise SourceError(
            f"{path} is damaged: its header says {width}x{height} pixels, but they cannot be "
            f"decoded"
        )
    return image


def _content_of(path: Path) -> bytes | None:
    """Return a file's bytes; None if there is no file. Raises `SourceError`: it may not be read."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {system_reason(error)}") from error


def _decoded(path: Path, content: bytes, header: ImageHeader) -> np.ndarray | None:
    """Return the pixels; None if they cannot be decoded.

    Raises:
        ValueError: why they cannot be, as a clause about the file.
    """
    if header.format in {"JPEG", "MPO"}:
        return decode_jpeg(content, header.orientation)
    if header.format == "TIFF":
        return _decode_tiff(path, content, header)
    # Of a PNG that breaks off, decoders fill in the missing part and say nothing.
    if header.format == "PNG" and content.find(b"IEND", max(0, len(content) - (1 << 16))) < 0:
        message = f"is truncated: the PNG ends after {len(content)} bytes without its IEND chunk"
        raise ValueError(message)
    return _decode(path, content, header)


def _decode(path: Path, content: bytes, header: ImageHeader) -> np.ndarray | None:
    flags, (width, height) = cv2.IMREAD_COLOR, header.shown_wh
    if header.format == "AVIF":  # which OpenCV 5.0 does not turn; a later one may
        flags, (width, height) = flags | cv2.IMREAD_IGNORE_ORIENTATION, header.stored_wh
    if width * height < _LARGE_PIXELS or not _is_opened(path):
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    else:  # into an array of ours: otherwise OpenCV holds the pixels twice
        image = cv2.imread(str(path), np.zeros((height, width, 3), np.uint8), flags)
    if image is None or header.format != "AVIF":
        return image
    return upright(image, header.orientation)


def _is_opened(path: Path) -> bool:
    """Say whether OpenCV opens files of that name: on Windows it takes ASCII alone."""
    return sys.platform != "win32" or str(path).isascii()


def _decode_tiff(path: Path, content: bytes, header: ImageHeader) -> np.ndarray | None:
    page = main_page(tiff_pages(io.BytesIO(content)))
    if problem := page.problem():
        raise ValueError(f"cannot be read as an image: {problem}")
    if page.is_planar:
        parts = [np.frombuffer(band_as_grey(content, page, band), np.uint8) for band in (2, 1, 0)]
        bands = [cv2.imdecode(part, cv2.IMREAD_GRAYSCALE) for part in parts]
        whole = [band for band in bands if band is not None]
        return np.dstack(whole) if len(whole) == 3 else None
    if page.is_first and not page.has_fourth_band and not page.has_unnamed_colours:
        return _decode(path, content, header)
    return cv2.imdecode(np.frombuffer(bands_as_rgb(content, page), np.uint8), cv2.IMREAD_COLOR)
