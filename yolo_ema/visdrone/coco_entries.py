"""Entries of a COCO file, one by one: what pycocotools and the common exporters write, taken where
its meaning is plain and named where it is not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import DataError
from yolo_ema.io.text_files import one_line

EntryId = int | str

_LARGEST_PX = 1e7
_TRUE, _FALSE = {"1", "true", "yes"}, {"", "0", "false", "no", "none"}
_IGNORED_NAMES = {"ignored", "ignore", "ignoredregion", "ignoredregions"}
_OTHERS_NAMES = {"other", "others"}


class EntryError(Exception):
    """An entry cannot be used; the message is a clause that follows the entry's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Categories:
    """A file's categories.

    Attributes:
        names: the classes, in the order of the categories' ids.
        class_ids: class by category id.
        ignored: ids of categories whose boxes are ignored regions.
        others: ids of categories that are neither learnt nor ignored (VisDrone's "others").
        groups: names of categories that only group the others (Roboflow's first).
    """

    names: tuple[str, ...]
    class_ids: dict[EntryId, int]
    ignored: frozenset[EntryId]
    others: frozenset[EntryId]
    groups: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ImageEntry:
    """One entry of ``images``: id, place below the image folder, size where it states one."""

    image_id: EntryId
    place: str
    stated_wh: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class ObjectEntry:
    """One entry of ``annotations``: ``class_id`` is None for VisDrone's "others"."""

    row: int
    image_id: EntryId
    ltwh: tuple[float, float, float, float]
    class_id: int | None
    ignored: bool


def entry_id(value: Any) -> EntryId | None:
    """Return an id; ``1``, ``1.0`` and ``"1"`` are one. None where it is not an id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value) else value or None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_categories(entries: list[Any], used: Collection[EntryId], where: str) -> Categories:
    """Read ``categories``.

    A category that is the ``supercategory`` of all others and has no annotations groups them, as
    Roboflow's first one does. "ignored regions" become ignored regions, and where all of VisDrone's
    classes are there, "others" are neither learnt nor ignored.

    Args:
        entries: the list.
        used: ids that annotations refer to.
        where: the file's name, for errors.

    Raises:
        DataError: an entry has no id or no name, two of them share one, or none is a class.
    """
    named: dict[EntryId, str] = {}
    parents: dict[EntryId, Any] = {}
    for entry in entries:
        number = entry_id(entry.get("id")) if isinstance(entry, dict) else None
        name = _name(entry, "name") if number is not None else ""
        if number is None or not name:
            raise DataError(f"{where}: expected categories with an id and a name each")
        if number in named:
            raise DataError(f"{where}: two categories share an id: {number}")
        named[number], parents[number] = name, _name(entry, "supercategory")
    groups = {
        number
        for number, name in named.items()
        if len(named) > 1
        and number not in used
        and all(parents[other] == name for other in named if other != number)
    }
    ignored = {number for number, name in named.items() if _plain(name) in _IGNORED_NAMES}
    has_visdrones = set(map(_plain, VISDRONE_CLASSES)) <= set(map(_plain, named.values()))
    others = {n for n, name in named.items() if has_visdrones and _plain(name) in _OTHERS_NAMES}
    classes = sorted(
        named.keys() - groups - ignored - others,
        key=lambda number: (isinstance(number, str), number),
    )
    names = tuple(named[number] for number in classes)
    if not names:
        raise DataError(f"{where}: expected categories, and none of them is a class")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: two categories share a name: {twice!r}")
    return Categories(
        names,
        {number: class_id for class_id, number in enumerate(classes)},
        frozenset(ignored),
        frozenset(others),
        tuple(named[number] for number in groups),
    )


def read_image_entry(entry: Any) -> ImageEntry:
    """Read an entry of ``images``. Raises `EntryError`."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    image_id = entry_id(entry.get("id")) if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name or image_id is None:
        raise EntryError("bad-entry", "has no id or no file_name")
    place = PurePosixPath(name.replace("\\", "/"))
    if not place.parts:
        raise EntryError("bad-name", f"has the file_name {name[:60]!r}, which does not name a file")
    if place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", place.parts[0]):
        raise EntryError(
            "bad-name", f"has the file_name {name[:60]!r}, which leads out of the image folder"
        )
    sides = _side(entry.get("width")), _side(entry.get("height"))
    stated = None if sides[0] is None or sides[1] is None else (sides[0], sides[1])
    return ImageEntry(image_id, place.as_posix(), stated)


def read_object_entry(entry: Any, row: int, categories: Categories) -> ObjectEntry:
    """Read an entry of ``annotations``; ``row`` is its number, from 1. Raises `EntryError`."""
    if not isinstance(entry, dict):
        raise EntryError("field-count", f"is {type(entry).__name__}, expected an object")
    image_id = entry_id(entry.get("image_id"))
    if image_id is None:
        raise EntryError("stray-annotation", f"has the image_id {repr(entry.get('image_id'))[:60]}")
    ltwh = _box(entry)
    category = entry_id(entry.get("category_id"))
    ignored = _flag(entry, "iscrowd") or _flag(entry, "ignore") or category in categories.ignored
    class_id = categories.class_ids.get(category) if category is not None else None
    if class_id is None and not ignored and category not in categories.others:
        shown = repr(entry.get("category_id"))[:60]
        raise EntryError("unknown-category", f"has the category_id {shown}, which no category has")
    return ObjectEntry(row, image_id, ltwh, class_id, ignored)


def _box(entry: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return left, top, width, height: the bbox, or what the polygons span where there is none."""
    bbox = entry.get("bbox")
    if (not bbox or bbox == [0, 0, 0, 0]) and (spanned := _around(entry.get("segmentation"))):
        return spanned
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_pixels, bbox)):
        raise EntryError(
            "bad-box",
            f"has the bbox {repr(bbox)[:60]}, expected [left, top, width, height] in pixels",
        )
    left, top, width, height = map(float, bbox)
    return left, top, width, height


def _around(polygons: Any) -> tuple[float, float, float, float] | None:
    """Return left, top, width, height of what polygons span; None where they are not polygons."""
    if not isinstance(polygons, list) or not polygons:
        return None
    if not all(
        isinstance(xys, list) and len(xys) >= 6 and len(xys) % 2 == 0 and all(map(_is_pixels, xys))
        for xys in polygons
    ):
        return None
    xs = [x for xys in polygons for x in xys[::2]]
    ys = [y for xys in polygons for y in xys[1::2]]
    return float(min(xs)), float(min(ys)), float(max(xs) - min(xs)), float(max(ys) - min(ys))


def _is_pixels(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_PX
    )


def _flag(entry: dict[str, Any], name: str) -> bool:
    word = str(entry.get(name, "")).strip().lower().removesuffix(".0")
    if word not in _TRUE | _FALSE:
        raise EntryError("bad-flag", f"has the {name} {word[:60]!r}, expected 0 or 1")
    return word in _TRUE


def _side(value: Any) -> int | None:
    """Return a stated width or height in pixels; None where nothing usable is stated."""
    number = entry_id(value)
    return number if isinstance(number, int) and 0 < number < _LARGEST_PX else None


def _name(entry: dict[str, Any], key: str) -> str:
    return "" if entry.get(key) is None else one_line(str(entry[key]))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
