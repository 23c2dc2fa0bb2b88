"""TIFF files as aerial software writes them, made here tag by tag."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.io.tiff_file import main_page, tiff_pages
from yolo_ema.media.sources.image_reader import read_image

H, W = 40, 60
RGB = np.zeros((H, W, 3), np.uint8)
RGB[..., 0] = np.arange(W) * 4
RGB[..., 1] = 180
RGB[..., 2] = np.arange(H)[:, None] * 6


def page(bands: np.ndarray, *, big=False, planar=False, order="<", **tags: tuple[int, ...]):
    """Return a page's tags and its strips: bands (H, W, N) of 8 or 16 bits."""
    bands = np.atleast_3d(bands)
    height, width, count = bands.shape
    whole = bands.astype(bands.dtype.newbyteorder(order))
    parts = [whole[..., band] for band in range(count)] if planar else [whole]
    strips = [
        np.ascontiguousarray(part[top : top + 16]).tobytes()
        for part in parts
        for top in range(0, height, 16)
    ]
    stated = {
        256: (width,),
        257: (height,),
        258: (bands.dtype.itemsize * 8,) * count,
        259: (1,),
        262: (2 if count >= 3 else 1,),
        277: (count,),
        278: (16,),
        284: (2 if planar else 1,),
    }
    if count > 3:
        stated[338] = (0,) * (count - 3)
    stated |= {int(tag[1:]): values for tag, values in tags.items()}
    if stated[259] == (8,):
        strips = [zlib.compress(strip) for strip in strips]
    return stated, strips


def tiff(*pages, order="<", big=False) -> bytes:
    """Return a file of pages."""
    made = io.BytesIO()
    made.write(b"II" if order == "<" else b"MM")
    made.write(
        struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    )
    offset, room = ("Q", 8) if big else ("I", 4)
    pointer = 8 if big else 4
    for stated, strips in pages:
        places = []
        for strip in strips:
            made.seek(0, io.SEEK_END)
            places.append(made.tell())
            made.write(strip)
        entries = dict(stated) | {273: tuple(places), 279: tuple(map(len, strips))}
        raws = {}
        for tag, values in sorted(entries.items()):
            letter = offset if tag in {273, 279} else "H"
            raw = struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(raw) > room:
                made.seek(0, io.SEEK_END)
                at = made.tell()
                made.write(raw)
                raw = struct.pack(f"{order}{offset}", at)
            raws[tag] = (16 if big else 4) if letter == offset else 3, len(values), raw
        made.seek(0, io.SEEK_END)
        made.write(b"\0" * (made.tell() % 2))
        at = made.tell()
        made.seek(pointer)
        made.write(struct.pack(f"{order}{offset}", at))
        made.seek(at)
        made.write(struct.pack(f"{order}{'Q' if big else 'H'}", len(raws)))
        for tag, (kind, count, raw) in raws.items():
            made.write(struct.pack(f"{order}HH{offset}", tag, kind, count) + raw.ljust(room, b"\0"))
        pointer = made.tell()
        made.write(struct.pack(f"{order}{offset}", 0))
    return made.getvalue()


def read(tmp_path: Path, content: bytes) -> np.ndarray:
    (tmp_path / "x.tif").write_bytes(content)
    return read_image(tmp_path / "x.tif")


WIDE = RGB.astype(np.uint16) * 257
NIR = np.full((H, W, 1), 90, np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "bands",
    [
        RGB,
        WIDE,
        np.dstack([RGB, NIR]),
        np.dstack([WIDE, NIR.astype(np.uint16) * 257]),
    ],
    ids=["8 bits", "16 bits", "8 bits and infrared", "16 bits and infrared"],
)
@pytest.mark.parametrize("planar", [False, True])
def test_bands_are_read_as_colours(tmp_path, order, big, compressed, bands, planar):
    tags = {"t259": (8,)} if compressed else {}
    content = tiff(page(bands, planar=planar, order=order, **tags), order=order, big=big)
    assert np.array_equal(read(tmp_path, content), RGB[..., ::-1])


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("planar", [False, True])
def test_a_fourth_band_never_changes_the_colours(tmp_path, extra, planar):
    content = tiff(page(np.dstack([RGB, NIR]), planar=planar, t338=(extra,)))
    assert np.array_equal(read(tmp_path, content), RGB[..., ::-1])


@pytest.mark.parametrize("bands", [RGB, WIDE], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("planar", [False, True])
def test_three_bands_without_named_colours_are_red_green_and_blue(tmp_path, bands, planar):
    content = tiff(page(bands, planar=planar, t262=(1,), t338=(0, 0)))
    assert np.array_equal(read(tmp_path, content), RGB[..., ::-1])


def test_of_five_bands_with_colours_the_first_three_are_read_where_each_lies_alone(tmp_path):
    five = np.dstack([RGB, NIR, NIR])
    assert np.array_equal(read(tmp_path, tiff(page(five, planar=True))), RGB[..., ::-1])


@pytest.mark.parametrize(
    ("tags", "bands", "reason"),
    [
        ({}, np.dstack([RGB, NIR, NIR]), "it has 5 bands"),
        ({"t262": (1,)}, np.dstack([RGB, NIR, NIR]), "it has 5 bands"),
        ({}, np.dstack([NIR, NIR]), "it has 2 bands"),
        ({"t259": (50000,)}, RGB, "ZSTD compression is not supported"),
        ({"t259": (34887,)}, RGB, "LERC compression is not supported"),
        ({"t339": (3, 3, 3), "t258": (32, 32, 32)}, RGB, "32-bit floating-point"),
        ({"t339": (2, 2, 2)}, RGB, "8-bit signed"),
        ({"t339": (6, 6, 6), "t258": (64, 64, 64)}, RGB, "64-bit complex"),
        ({"t258": (12, 12, 12)}, RGB, "12-bit unsigned"),
        ({"t258": (32, 32, 32)}, RGB, "32-bit unsigned"),
        ({"t262": (32803,)}, NIR, "raw sensor data"),
    ],
)
def test_unreadable_files_say_why(tmp_path, tags, bands, reason):
    with pytest.raises(SourceError, match=f"cannot be read as an image: .*{reason}"):
        read(tmp_path, tiff(page(bands, **tags)))


def test_sparse_tiles_are_named(tmp_path):
    stated, strips = page(RGB)
    with pytest.raises(SourceError, match="sparse: 1 of its 3 tiles hold no data"):
        read(tmp_path, tiff((stated, [*strips[:2], b""])))


def test_a_leading_thumbnail_is_not_the_image(tmp_path):
    small = cv2.resize(RGB, (15, 10))
    flagged = tiff(page(small, t254=(1,)), page(RGB))
    unflagged = tiff(page(small), page(RGB))
    for content in (flagged, unflagged):
        assert np.array_equal(read(tmp_path, content), RGB[..., ::-1])
        assert image_wh(tmp_path / "x.tif") == (W, H)
    first = tiff(page(RGB), page(RGB[::-1]))
    assert np.array_equal(read(tmp_path, first), RGB[..., ::-1]), "of equal pages the first"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planar", [False, True])
def test_every_orientation_is_shown_upright(tmp_path, orientation, planar):
    image = read(tmp_path, tiff(page(RGB, planar=planar, t274=(orientation,))))
    expected = RGB[..., ::-1]
    if orientation >= 5:
        expected = expected.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        expected = expected[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        expected = expected[::-1]
    assert np.array_equal(image, expected)
    assert image_wh(tmp_path / "x.tif") == (image.shape[1], image.shape[0])


def test_a_page_that_is_too_large_is_refused_wherever_it_stands(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(page(RGB), page(RGB, t256=(60_000,), t257=(60_000,))))
    with pytest.raises(ImageHeaderError, match="claims 60000x60000 = 3600 million pixels"):
        image_wh(tmp_path / "x.tif")


def test_directories_that_lead_in_a_circle_or_nowhere_end(tmp_path):
    content = bytearray(tiff(page(RGB)))
    (at,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[at : at + 2])
    content[at + 2 + 12 * count : at + 6 + 12 * count] = struct.pack("<I", at)
    pages = tiff_pages(io.BytesIO(bytes(content)))
    assert len(pages) == 1
    assert main_page(pages).wh == (W, H)
    content[4:8] = struct.pack("<I", 0x7FFFFFFF)
    (tmp_path / "x.tif").write_bytes(bytes(content))
    with pytest.raises(ImageHeaderError, match="is damaged: its directory breaks off"):
        image_wh(tmp_path / "x.tif")
