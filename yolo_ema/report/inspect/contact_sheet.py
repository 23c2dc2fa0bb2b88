"""One sheet with images from all over a dataset, their boxes and ignored regions drawn in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yolo_ema.constants import BOX_COLOURS_RGB
from yolo_ema.engine.data.training_images import read_training_image
from yolo_ema.errors import SourceError
from yolo_ema.io.atomic_files import atomic_path
from yolo_ema.report.inspect.dataset_scan import SplitScan, one_line

TILE_WIDTH_PX = 800
TALLEST_TILE_PX = 2400
COLUMNS = 3
_LARGE_PX = 48
_GAP_PX = 12
_CAPTION_PX = 30
_LEGEND_PX = 34
_BACKGROUND = (24, 26, 30)
_TEXT = (235, 235, 235)


def draw_contact_sheet(
    scans: Sequence[SplitScan], names: Sequence[str], path: Path, *, count: int = 12
) -> Path:
    """Write a JPEG with ``count`` images and return its path.

    They are divided among the splits, and range from the emptiest to the fullest image of each.
    Boxes are coloured by class, with lines thin enough for small ones; ignored regions are hatched.

    Raises:
        DiskFullError: the disk is full.
    """
    shown = [
        (scan, index)
        for scan, share in zip(scans, _shares(scans, count), strict=True)
        for index in _spread(scan, share)
    ]
    tiles = [_tile(scan, index) for scan, index in shown]
    columns = min(COLUMNS, len(tiles))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = columns * TILE_WIDTH_PX + (columns + 1) * _GAP_PX
    used = sorted(
        {int(number) for scan, index in shown for number in scan.classes[scan.image_of == index]}
    )
    colours = [BOX_COLOURS_RGB[number % len(BOX_COLOURS_RGB)] for number in used]
    legend = _legend(list(zip([names[number] for number in used], colours, strict=True)), width)
    sheet = Image.new(
        "RGB", (width, legend.height + sum(heights) + _GAP_PX * (len(rows) + 1)), _BACKGROUND
    )
    sheet.paste(legend, (0, 0))
    top = legend.height + _GAP_PX
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (_GAP_PX + column * (TILE_WIDTH_PX + _GAP_PX), top))
        top += height + _GAP_PX
    with atomic_path(path) as temp:
        sheet.save(temp, quality=90, subsampling=0)
    return path


def _shares(scans: Sequence[SplitScan], count: int) -> list[int]:
    """Return how many images each split shows: as equal as possible, at most all of them."""
    shares = [0] * len(scans)
    while sum(shares) < count and any(
        share < len(scan.images) for share, scan in zip(shares, scans, strict=True)
    ):
        open_splits = [
            index for index, scan in enumerate(scans) if shares[index] < len(scan.images)
        ]
        shares[min(open_splits, key=lambda index: shares[index])] += 1
    return shares


def _spread(scan: SplitScan, count: int) -> list[int]:
    """Return images at even steps of their order by number of objects."""
    order = np.argsort(scan.objects_per_image, kind="stable")
    places = (
        np.linspace(0, len(order) - 1, count).round().astype(int)
        if count
        else np.zeros(0, dtype=int)
    )
    return [int(order[index]) for index in places]


def _tile(scan: SplitScan, index: int) -> Image.Image:
    image, (width, height) = scan.images[index], scan.sizes_wh[index]
    scale = min(TILE_WIDTH_PX / width, TALLEST_TILE_PX / height)
    side_wh = (max(1, round(scale * width)), max(1, round(scale * height)))
    try:
        pixels = read_training_image(image)
    except SourceError:  # only its header was read before; a black tile says enough
        pixels = np.zeros((1, 1, 3), dtype=np.uint8)
    resized = cv2.resize(
        pixels, side_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    tile = Image.fromarray(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB))
    regions = scan.regions_xyxy[scan.regions_of == index] * scale
    _hatch(tile, regions)
    pen = ImageDraw.Draw(tile)
    in_image = scan.image_of == index
    # The largest first, so that small boxes stay on top.
    boxes, classes = scan.boxes_xyxy[in_image] * scale, scan.classes[in_image]
    for row in np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable"):
        corners = _pixels(boxes[row], side_wh)
        large = min(corners[2] - corners[0], corners[3] - corners[1]) >= _LARGE_PX
        pen.rectangle(
            corners,
            outline=BOX_COLOURS_RGB[classes[row] % len(BOX_COLOURS_RGB)],
            width=2 if large else 1,
        )
    caption = (
        f"{scan.split}/{one_line(image.name)}   {width:g}×{height:g}   objects: {len(boxes)}   "
        f"ignored regions: {len(regions)}"
    )
    return _captioned(tile, caption)


def _pixels(box: np.ndarray, side_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return whole pixels inside the tile, with the second corner never before the first."""
    x1, y1, x2, y2 = (
        np.clip(np.floor(box), 0, [side_wh[0] - 1, side_wh[1] - 1] * 2).astype(int).tolist()
    )
    return x1, y1, max(x1, x2), max(y1, y2)


def _hatch(tile: Image.Image, regions_xyxy: np.ndarray) -> None:
    """Darken ignored regions and draw slanted lines over them."""
    if not len(regions_xyxy):
        return
    mask = Image.new("L", tile.size, 0)
    for box in regions_xyxy:
        ImageDraw.Draw(mask).rectangle(_pixels(box, tile.size), fill=255)
    lines = Image.new("RGB", tile.size, (40, 40, 40))
    pen = ImageDraw.Draw(lines)
    for start in range(-tile.height, tile.width, 12):
        pen.line([(start, tile.height), (start + tile.height, 0)], fill=(255, 255, 255), width=1)
    tile.paste(Image.blend(tile, lines, 0.45), (0, 0), mask)
    pen = ImageDraw.Draw(tile)
    for box in regions_xyxy:
        pen.rectangle(_pixels(box, tile.size), outline=(200, 200, 200), width=1)


def _captioned(tile: Image.Image, caption: str) -> Image.Image:
    captioned = Image.new("RGB", (TILE_WIDTH_PX, tile.height + _CAPTION_PX), _BACKGROUND)
    captioned.paste(tile, (0, _CAPTION_PX))
    ImageDraw.Draw(captioned).text(
        (2, _CAPTION_PX // 2), caption, fill=_TEXT, font=_font(16), anchor="lm"
    )
    return captioned


def _legend(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Image.Image:
    """Return a strip with a square and a name per class, and one for ignored regions, wrapped to
    the width.
    """
    font = _font(18)
    names = [*(name for name, _ in entries), "ignored region"]
    places, left, top = [], _GAP_PX, _GAP_PX // 2
    for name in names:
        step = 34 + math.ceil(font.getlength(name)) + 22
        if left + step > width and left > _GAP_PX:
            left, top = _GAP_PX, top + _LEGEND_PX
        places.append((left, top))
        left += step
    strip = Image.new("RGB", (width, top + _LEGEND_PX), _BACKGROUND)
    _hatch(
        strip,
        np.array([[places[-1][0], places[-1][1] + 9, places[-1][0] + 22, places[-1][1] + 27]]),
    )
    pen = ImageDraw.Draw(strip)
    for (_, colour), (x, y) in zip(entries, places[:-1], strict=True):
        pen.rectangle((x, y + 9, x + 22, y + 27), outline=colour, width=3)
    for name, (x, y) in zip(names, places, strict=True):
        pen.text((x + 32, y + 18), name, fill=_TEXT, font=font, anchor="lm")
    return strip


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size_px
    )
