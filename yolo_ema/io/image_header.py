"""An image's size out of its header, before anything is decoded: the one gate that oversized and
damaged images meet.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

__all__ = ["LARGEST_PIXELS", "ImageHeaderError", "content_wh", "image_wh"]

LARGEST_PIXELS = 350_000_000
"""An image that claims more is refused unless the caller sets another limit: decoding it could take
all memory.
"""

_EXIF_ORIENTATION = 274
_pillow_open = Image.open
"""Pillow's own: Ultralytics, once imported, wraps it, and would look for a further package at every
damaged image.
"""
_QUARTER_TURNED = {5, 6, 7, 8}
_pillow_limit = threading.Lock()


class ImageHeaderError(ValueError):
    """An image's size cannot be read, or is too large; the message is a clause about the file that
    the caller names.
    """


def image_wh(path: Path, *, max_pixels: int = LARGEST_PIXELS) -> tuple[int, int]:
    """Return an image's width and height in pixels as it is shown, turned by its EXIF orientation,
    without decoding it.

    Args:
        path: the image file.
        max_pixels: the most pixels that the header may claim.

    Raises:
        ImageHeaderError: the file is empty, no image, damaged at its start, or claims more than
            ``max_pixels``.
    """
    if path.is_file() and path.stat().st_size == 0:
        raise ImageHeaderError("is empty (0 bytes)")
    return _header_wh(path, max_pixels)


def content_wh(content: bytes, *, max_pixels: int = LARGEST_PIXELS) -> tuple[int, int]:
    """Do as `image_wh`, for an encoded image in memory."""
    return _header_wh(io.BytesIO(content), max_pixels)


def _header_wh(encoded: Path | io.BytesIO, max_pixels: int) -> tuple[int, int]:
    try:
        with _any_size(), _pillow_open(encoded) as image:
            width, height = image.size
            turned = width * height <= max_pixels and _orientation(image) in _QUARTER_TURNED
    except (
        UnidentifiedImageError,
        ImportError,
    ):  # the latter from Ultralytics' wrapper, where that was imported first
        raise ImageHeaderError("is not an image that can be read") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        EOFError,
    ) as error:  # what Pillow's readers raise on damaged headers
        raise ImageHeaderError(f"is damaged: {error}") from error
    if not 1 <= width * height <= max_pixels:
        millions = (
            f"{width * height / 1e6:.0f} million pixels, expected 1 to {max_pixels / 1e6:g} million"
        )
        raise ImageHeaderError(f"claims {width}x{height} = {millions}")
    return (height, width) if turned else (width, height)


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation; of a PNG only one that stands before the pixels, since Pillow
    decodes them to look behind.
    """
    if image.format != "PNG":
        return image.getexif().get(_EXIF_ORIENTATION)
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return exif.get(_EXIF_ORIENTATION)


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow read the header of any image: its own limit is lower than ours, and warns from
    half of it on.
    """
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
