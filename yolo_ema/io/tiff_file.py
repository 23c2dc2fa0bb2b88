"""What a TIFF's directories say, and copies of a page laid out so that OpenCV decodes it as RGB.

OpenCV reads the first page, one band of separately stored ones, and multiplies colours with a
fourth band that it takes for transparency. Aerial images come with all of these.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

_MOST_PAGES = 4096
_MOST_ENTRIES = 4096
_MOST_VALUES = 1 << 22
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _PLANAR = 273, 274, 277, 279, 284
_TILES, _TILE_BYTES, _SUB_PAGES, _EXTRA, _FORMAT = 324, 325, 330, 338, 339
_GREY, _RGB, _SENSOR, _LINEAR_RAW = 1, 2, 32803, 34892
_REDUCED_OR_MASK = 0b101
_COMPRESSIONS = {34925: "LZMA", 50000: "ZSTD", 50001: "WebP", 34887: "LERC", 52546: "JPEG XL"}
_COMPRESSIONS |= dict.fromkeys((33003, 33005, 34712), "JPEG 2000")
_DECODED_BITS = frozenset({1, 2, 4, 8, 16})
_NOT_UNSIGNED = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


@dataclass(frozen=True)
class _Layout:
    """Byte order and widths of a TIFF (classic) or BigTIFF file."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        return f"{self.order}{'Q' if self.big else 'H'}"

    @property
    def offset(self) -> str:
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def entry(self) -> str:
        return f"{self.order}HH{'Q8s' if self.big else 'I4s'}"


@dataclass(frozen=True)
class TiffPage:
    """One image of a TIFF file.

    Attributes:
        layout: of its file.
        is_first: whether decoders that know one page only read this one.
        entries: type, number of values, and the raw value or offset of each tag.
        values: of the tags that matter here, decoded.
    """

    layout: _Layout
    is_first: bool
    entries: dict[int, tuple[int, int, bytes]]
    values: dict[int, tuple[int, ...]]

    def _one(self, tag: int, default: int = 0) -> int:
        return self.values.get(tag, (default,))[0]

    @property
    def wh(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self._one(_WIDTH), self._one(_HEIGHT)

    @property
    def orientation(self) -> int:
        """EXIF's number, 1 to 8."""
        return self._one(_ORIENTATION, 1)

    @property
    def bands(self) -> int:
        """How many values a pixel has."""
        return self._one(_SAMPLES, 1)

    @property
    def is_reduced(self) -> bool:
        """Whether it says that it is a thumbnail or a mask."""
        return bool(self._one(_SUBFILE) & _REDUCED_OR_MASK)

    @property
    def is_planar(self) -> bool:
        """Whether each band is stored by itself."""
        return self.bands > 1 and self._one(_PLANAR, 1) == 2

    @property
    def has_unnamed_colours(self) -> bool:
        """Whether three or four bands are not said to be red, green and blue, as GDAL writes 16-bit
        ones.
        """
        return self.bands in {3, 4} and self._one(_PHOTOMETRIC) in {0, _GREY}

    @property
    def has_fourth_band(self) -> bool:
        """Whether something follows red, green and blue: transparency, or near infrared."""
        return self.bands == 4 and self._one(_PHOTOMETRIC) == _RGB

    def problem(self) -> str:
        """Return why its pixels cannot be read as grey or RGB; "" if they can."""
        if self._one(_PHOTOMETRIC) in {_SENSOR, _LINEAR_RAW}:
            return "it holds raw sensor data; develop it to JPEG or TIFF first"
        if name := _COMPRESSIONS.get(self._one(_COMPRESSION, 1)):
            return f"{name} compression is not supported; convert it with {_gdal('COMPRESS=LZW')}"
        bits, numbers = max(self.values.get(_BITS, (1,))), max(self.values.get(_FORMAT, (1,)))
        if bits not in _DECODED_BITS or numbers in _NOT_UNSIGNED:
            kind = _NOT_UNSIGNED.get(numbers, "unsigned")
            return f"{bits}-bit {kind} values are not supported; convert it to 8 or 16 bits"
        if self.bands not in {1, 3, 4} and not (self.is_planar and self._one(_PHOTOMETRIC) == _RGB):
            return (
                f"it has {self.bands} bands, and 1 (grey), 3 (red, green, blue) or 4 can be read; "
                f"name the right ones with gdal_translate -b 1 -b 2 -b 3"
            )
        sizes = self.values.get(_TILE_BYTES) or self.values.get(_STRIP_BYTES, ())
        if empty := sum(size == 0 for size in sizes):
            return (
                f"it is sparse: {empty} of its {len(sizes)} tiles hold no data; fill them with "
                f"{_gdal('SPARSE_OK=FALSE')}"
            )
        return ""


def _gdal(option: str) -> str:
    return f"gdal_translate -co {option}"


def is_tiff(head: bytes) -> bool:
    """Return whether a file is TIFF or BigTIFF, by its first four bytes."""
    return head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def tiff_pages(file: BinaryIO) -> list[TiffPage]:
    """Return the pages of a TIFF, those inside the first one too, without decoding any.

    Raises:
        ValueError: the directories are damaged.
    """
    head = file.read(16)
    layout = _Layout("<" if head[:2] == b"II" else ">", head[2:4] in {b"+\0", b"\0+"})
    try:
        (offset,) = struct.unpack(layout.offset, head[8:16] if layout.big else head[4:8])
        pages: list[TiffPage] = []
        seen: set[int] = set()
        while offset and offset not in seen and len(pages) < _MOST_PAGES:
            seen.add(offset)
            page, offset = _page(file, layout, offset, is_first=not pages)
            pages.append(page)
        inner = pages[0].values.get(_SUB_PAGES, ()) if pages else ()
        pages += [_page(file, layout, offset, is_first=False)[0] for offset in inner[:_MOST_PAGES]]
    except (struct.error, OverflowError) as error:
        raise ValueError("its directory breaks off") from error
    if not pages:
        raise ValueError("it has no directory")
    return pages


def main_page(pages: list[TiffPage]) -> TiffPage:
    """Return the page to read: the largest that is not a thumbnail, of equal ones the first."""
    full = [page for page in pages if not page.is_reduced] or pages
    return max(full, key=lambda page: page.wh[0] * page.wh[1])


def _page(file: BinaryIO, layout: _Layout, offset: int, *, is_first: bool) -> tuple[TiffPage, int]:
    file.seek(offset)
    (count,) = struct.unpack(layout.count, file.read(struct.calcsize(layout.count)))
    if count > _MOST_ENTRIES:
        raise ValueError("its directory is damaged")
    size = struct.calcsize(layout.entry)
    table = file.read(count * size)
    (following,) = struct.unpack(layout.offset, file.read(struct.calcsize(layout.offset)))
    entries: dict[int, tuple[int, int, bytes]] = {}
    values: dict[int, tuple[int, ...]] = {}
    for start in range(0, count * size, size):
        tag, kind, number, raw = struct.unpack(layout.entry, table[start : start + size])
        entries[tag] = (kind, number, raw)
        if tag in _WANTED and kind in _LETTERS and number <= _MOST_VALUES:
            if (length := number * _SIZES[kind]) > len(raw):
                file.seek(struct.unpack(layout.offset, raw)[0])
                raw = file.read(length)
            values[tag] = struct.unpack(f"{layout.order}{number}{_LETTERS[kind]}", raw[:length])
    return TiffPage(
        layout, is_first, entries, {tag: v for tag, v in values.items() if v}
    ), following


_WANTED = frozenset(
    {
        *(_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _ORIENTATION),
        *(_SAMPLES, _STRIP_BYTES, _PLANAR, _TILES, _TILE_BYTES, _SUB_PAGES, _EXTRA, _FORMAT),
    }
)


def bands_as_rgb(content: bytes, page: TiffPage) -> bytes:
    """Return a TIFF whose first page is this one, its first three bands named red, green and blue,
    and a fourth not taken for transparency.
    """
    changes: dict[int, tuple[int, ...]] = {}
    if page.has_unnamed_colours:
        changes[_PHOTOMETRIC] = (_RGB,)
    if page.bands == 4:
        changes[_EXTRA] = (0,)
    elif page.has_unnamed_colours:
        changes[_EXTRA] = ()
    return _with_first_page(content, page, changes)


def band_as_grey(content: bytes, page: TiffPage, band: int) -> bytes:
    """Return a TIFF whose first page is one band of a page that stores each by itself."""
    where, sizes = (_TILES, _TILE_BYTES) if _TILES in page.values else (_STRIPS, _STRIP_BYTES)
    per_band = len(page.values[where]) // page.bands
    part = slice(band * per_band, (band + 1) * per_band)
    changes = {
        _SAMPLES: (1,),
        _PHOTOMETRIC: (_GREY,),
        _PLANAR: (1,),
        _BITS: page.values[_BITS][:1],
        _FORMAT: (1,),
        _EXTRA: (),
        where: page.values[where][part],
        sizes: page.values[sizes][part],
    }
    return _with_first_page(content, page, changes)


def _with_first_page(content: bytes, page: TiffPage, changes: dict[int, tuple[int, ...]]) -> bytes:
    """Return the file with a directory appended: that of the page, with some tags changed; a tag
    without values is left out.
    """
    layout, entries = page.layout, dict(page.entries)
    buffer = bytearray(content)
    buffer += b"\0" * (len(buffer) % 2)
    kind = 16 if layout.big else 4
    for tag, values in changes.items():
        entries.pop(tag, None)
        if not values:
            continue
        short = tag in {_PHOTOMETRIC, _EXTRA, _SAMPLES, _PLANAR, _BITS, _FORMAT}
        letter = "H" if short else layout.offset[1]
        raw = struct.pack(f"{layout.order}{len(values)}{letter}", *values)
        room = 8 if layout.big else 4
        if len(raw) > room:
            offset, raw = len(buffer), raw + b"\0" * (len(raw) % 2)
            buffer += raw
            raw = struct.pack(layout.offset, offset)
        entries[tag] = (3 if short else kind, len(values), raw.ljust(room, b"\0"))
    start = 8 if layout.big else 4
    buffer[start : start + struct.calcsize(layout.offset)] = struct.pack(layout.offset, len(buffer))
    buffer += struct.pack(layout.count, len(entries))
    for tag in sorted(entries):
        buffer += struct.pack(layout.entry, tag, *entries[tag])
    buffer += struct.pack(layout.offset, 0)
    return bytes(buffer)
