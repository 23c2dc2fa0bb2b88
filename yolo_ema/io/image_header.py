"""An image's size before anything is decoded: the one gate for oversized and damaged images."""

from __future__ import annotations

import contextlib
import importlib
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError

from yolo_ema.io.file_signature import kind_of
from yolo_ema.io.tiff_file import is_tiff, main_page, tiff_pages

LARGEST_PIXELS = 350_000_000
"""Larger images are refused unless the caller says so: decoding could take all memory."""

_EXIF_ORIENTATION = 274
_EXIF_IFD, _GPS_IFD, _XMP_TAG = 0x8769, 0x8825, 700
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
_QUARTER_TURNED = frozenset({5, 6, 7, 8})
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "WEBP")
"""What the readers decode; Pillow knows more, such as ICO, which it decodes on opening."""
_PLUGINS = ("AvifImagePlugin", "Jpeg2KImagePlugin", "WebPImagePlugin")
"""Those of these formats that Pillow does not load at once."""
pillow_open = Image.open.__globals__.get("_image_open", Image.open)
"""Pillow's own: Ultralytics, which may be imported already, wraps it (and calls it by that name),
and would look for another package at every damaged image.
"""
_pillow_limit = threading.Lock()


class ImageHeaderError(ValueError):
    """An image's size cannot be read, or is too large; the message is a clause about the file that
    the caller names.
    """


class ImageHeader(NamedTuple):
    """What an image says of itself.

    Attributes:
        stored_wh: width and height in pixels as stored.
        orientation: EXIF's number, 1 to 8, for how it is turned to be shown.
        format: Pillow's name, such as ``JPEG`` or ``MPO``, or ``TIFF``.
    """

    stored_wh: tuple[int, int]
    orientation: int
    format: str

    @property
    def shown_wh(self) -> tuple[int, int]:
        """Width and height in pixels as it is shown."""
        width, height = self.stored_wh
        return (height, width) if self.orientation in _QUARTER_TURNED else (width, height)


class ImageMetadata(NamedTuple):
    """What cameras write into images besides pixels.

    Attributes:
        stored_wh: width and height in pixels as stored.
        xmp: the XMP packet, empty where there is none.
        exif: EXIF's values by their numbers.
        gps: those about the place.
    """

    stored_wh: tuple[int, int]
    xmp: bytes
    exif: dict[int, Any]
    gps: dict[int, Any]


def image_metadata(path: Path) -> ImageMetadata:
    """Return the metadata of an image, without decoding it.

    EXIF that is damaged counts as none.

    Raises:
        ImageHeaderError: the file is not an image, or its header is damaged.
    """
    try:
        with _any_size(), pillow_open(path, formats=(*_formats(), "TIFF")) as image:
            exif, gps = _exif_and_gps(image)
            return ImageMetadata(image.size, _xmp_packet(image, exif), exif, gps)
    # what readers raise on damaged headers
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, ImportError) as error:
        raise ImageHeaderError(f"has no header that can be read: {error}") from error


def _xmp_packet(image: Image.Image, exif: dict[int, Any]) -> bytes:
    """Return the XMP packet from where a version of Pillow keeps it."""
    segments = [content for _, content in getattr(image, "applist", ())]
    in_jpeg = (segment[len(_XMP_MARK) :] for segment in segments if segment.startswith(_XMP_MARK))
    xmp = image.info.get("xmp") or exif.get(_XMP_TAG) or next(in_jpeg, b"")
    return xmp if isinstance(xmp, bytes) else str(xmp).encode()


def _exif_and_gps(image: Image.Image) -> tuple[dict[int, Any], dict[int, Any]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF
            exif = image.getexif()
            return {**exif, **exif.get_ifd(_EXIF_IFD)}, dict(exif.get_ifd(_GPS_IFD))
    except Exception:  # Pillow raises almost anything on damaged EXIF
        return {}, {}


def image_wh(path: Path, *, max_pixels: int = LARGEST_PIXELS) -> tuple[int, int]:
    """Return an image's width and height in pixels as it is shown, turned by its EXIF orientation,
    without decoding it.

    Args:
        path: the image file.
        max_pixels: the most pixels that the header may claim.

    Raises:
        ImageHeaderError: the file is empty, no image, damaged, or beyond ``max_pixels``.
    """
    if path.is_file() and path.stat().st_size == 0:
        raise ImageHeaderError("is empty (0 bytes)")
    with path.open("rb") as file:
        return read_header(file, max_pixels=max_pixels).shown_wh


def image_orientation(path: Path) -> int:
    """Return by which of EXIF's eight orientations, 1 to 8, an image is turned to be shown.

    Raises:
        ImageHeaderError: the header cannot be read.
    """
    with path.open("rb") as file:
        return read_header(file).orientation


def read_header(file: BinaryIO, *, max_pixels: int = LARGEST_PIXELS) -> ImageHeader:
    """Return what an encoded image says of itself, from an open file at its start.

    Raises:
        ImageHeaderError: as `image_wh`.
    """
    head = file.read(512)
    file.seek(0)
    try:
        header = (
            _tiff_header(file, max_pixels) if is_tiff(head) else _pillow_header(file, max_pixels)
        )
    except (UnidentifiedImageError, ImportError):  # the latter from Ultralytics' wrapper
        kind = kind_of(head)
        detail = "" if kind == "a file of an unknown kind" else f": it is {kind}"
        raise ImageHeaderError(f"is not an image that can be read{detail}") from None
    except ImageHeaderError:
        raise
    # what readers raise on damaged headers
    except (OSError, SyntaxError, ValueError, TypeError, EOFError) as error:
        raise ImageHeaderError(f"is damaged: {error}") from error
    return header


def _pillow_header(file: BinaryIO, max_pixels: int) -> ImageHeader:
    with _any_size(), pillow_open(file, formats=_formats()) as image:
        _check_size(image.size, max_pixels)
        return ImageHeader(image.size, _orientation(image) or 1, image.format or "")


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Return the formats of this Pillow; some builds lack AVIF, JPEG 2000 or WebP."""
    Image.preinit()
    for plugin in _PLUGINS:  # not Image.init(), which loads forty others, too
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{plugin}")
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _tiff_header(file: BinaryIO, max_pixels: int) -> ImageHeader:
    pages = tiff_pages(file)
    for page in pages:  # decoders of whole files decode every one
        _check_size(page.wh, max_pixels)
    page = main_page(pages)
    return ImageHeader(page.wh, page.orientation, "TIFF")


def _check_size(image_wh: tuple[int, int], max_pixels: int) -> None:
    width, height = image_wh
    if not 1 <= width * height <= max_pixels:
        raise ImageHeaderError(
            f"claims {width}x{height} = {width * height / 1e6:.0f} million pixels, expected 1 to "
            f"{max_pixels / 1e6:g} million"
        )


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
