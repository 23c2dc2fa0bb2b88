"""Reads a split in COCO's layout: one JSON file of images, annotations and categories beside a
folder of images, held against each other.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES
from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.io.image_header import ImageHeaderError, image_orientation, image_wh
from yolo_ema.io.text_files import decode_text
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.coco_entries import (
    Categories,
    EntryError,
    EntryId,
    ImageEntry,
    ObjectEntry,
    entry_id,
    read_categories,
    read_image_entry,
    read_object_entry,
)
from yolo_ema.visdrone.image_labels import LabelledImage, clip_boxes, describe_fate
from yolo_ema.visdrone.split_content import SplitContent


def read_coco(file: Path, folder: Path) -> SplitContent:
    """Read a split in COCO's layout.

    Categories become the classes 0, 1, … in order of their ids (`read_categories` says which do
    not). Annotations with ``iscrowd`` or ``ignore`` set become ignored regions. Where the file
    states another size than an image has, boxes are scaled, or turned by the EXIF orientation; an
    image of another shape is left out, and so is one none of whose annotations can be read. Boxes
    are clipped to the image; those without area, and those outside it, are dropped. Anomalies name
    an entry by its place in its list, counted from 1.

    Args:
        file: the JSON file; its ``file_name`` entries are places below ``folder``.
        folder: the folder of images.

    Raises:
        DataNotFoundError: the file or the folder is not there.
        DataError: the file is not JSON in this layout, or two categories share an id or a name.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"the image folder {folder} is not there")
    return _CocoSplit(file, folder).read()


class _CocoSplit:
    """A file while it is read; what is odd about it is collected on the way."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self.folder = file, folder
        self.anomalies: list[Anomaly] = []

    def read(self) -> SplitContent:
        content = _content(self.file)
        categories = read_categories(
            content["categories"], set(_ids(content["annotations"], "category_id")), str(self.file)
        )
        self._note_repeated_ids(content["annotations"])
        objects, unreadable = self._objects(content["annotations"], categories)
        places = self._places(content["images"])
        self._note_strays(objects, set(_ids(content["images"], "id")))
        images = []
        title = f"reading {self.file.name}"
        for entries in tqdm(places.values(), desc=title, unit="image", disable=None, leave=False):
            row, image = entries[0]
            if len(entries) > 1:
                message = f"image {row} of the list is in it {len(entries)} times; it counts once"
                self._add(row, "repeated-image", message)
            of_image = [box for _, entry in entries for box in objects.get(entry.image_id, ())]
            if not of_image and any(entry.image_id in unreadable for _, entry in entries):
                self._leave_out(row, "unreadable-annotations", "has no annotation that can be read")
                continue
            try:
                images.append(self._labelled(image, row, of_image))
            except EntryError as error:
                self._leave_out(row, error.kind, str(error))
            except (ImageHeaderError, OSError) as error:
                self._leave_out(row, "unreadable-image", str(error))
        return SplitContent(
            categories.names,
            self._without_twins(images),
            self.anomalies,
            images_found=len(content["images"]),
            annotations_found=len(content["annotations"]),
            others=sum(
                box.class_id is None and not box.ignored
                for boxes in objects.values()
                for box in boxes
            ),
        )

    def _add(self, row: int | None, kind: str, message: str, count: int = 1) -> None:
        self.anomalies.append(Anomaly(str(self.file), row, kind, message, count))

    def _leave_out(self, row: int, kind: str, clause: str) -> None:
        self._add(row, kind, f"image {row} of the list {clause}; it is left out")

    def _objects(
        self, entries: list[Any], categories: Categories
    ) -> tuple[dict[EntryId, list[ObjectEntry]], set[EntryId]]:
        """Return the readable annotations by image id, and the images that have unreadable ones."""
        objects: dict[EntryId, list[ObjectEntry]] = defaultdict(list)
        unreadable: set[EntryId] = set()
        for row, entry in enumerate(entries, start=1):
            try:
                box = read_object_entry(entry, row, categories)
            except EntryError as error:
                message = f"annotation {row} {error}; the annotation is left out"
                self._add(row, error.kind, message)
                unreadable.update(_ids([entry], "image_id"))
                continue
            objects[box.image_id].append(box)
        return objects, unreadable

    def _places(self, entries: list[Any]) -> dict[str, list[tuple[int, ImageEntry]]]:
        """Return the entries of ``images`` by place, in order of place. Those that share an id but
        not a place are left out, since their annotations cannot be distinguished.
        """
        readable: list[tuple[int, ImageEntry]] = []
        for row, entry in enumerate(entries, start=1):
            try:
                image = read_image_entry(entry)
            except EntryError as error:
                self._leave_out(row, error.kind, str(error))
                continue
            readable.append((row, image))
        places_of: dict[EntryId, set[str]] = defaultdict(set)
        for _, image in readable:
            places_of[image.image_id].add(image.place)
        by_place: dict[str, list[tuple[int, ImageEntry]]] = defaultdict(list)
        for row, image in sorted(readable, key=lambda pair: pair[1].place):
            if len(places_of[image.image_id]) > 1:
                clause = f"shares its id, {image.image_id!r}, with another image"
                self._leave_out(row, "repeated-id", clause)
            else:
                by_place[image.place].append((row, image))
        return by_place

    def _note_repeated_ids(self, entries: list[Any]) -> None:
        counts = Counter(_ids(entries, "id"))
        repeated = sum(count - 1 for count in counts.values())
        if repeated:
            message = f"{repeated:,} annotations share their id with an earlier one; all are taken"
            self._add(None, "repeated-annotation-id", message, repeated)

    def _note_strays(
        self, objects: Mapping[EntryId, list[ObjectEntry]], known: set[EntryId]
    ) -> None:
        for image_id in objects.keys() - known:
            count = len(objects[image_id])
            message = f"no image has the id {image_id!r}; its {count} annotations are left out"
            self._add(objects[image_id][0].row, "stray-annotation", message, count)

    def _labelled(self, entry: ImageEntry, row: int, objects: list[ObjectEntry]) -> LabelledImage:
        path = self._existing(entry.place)
        size_wh = image_wh(path)
        ltwh = np.array([box.ltwh for box in objects], dtype=np.float64).reshape(-1, 4)
        if entry.stated_wh is not None and entry.stated_wh != size_wh:
            ltwh = self._as_shown(ltwh, entry.stated_wh, size_wh, path, row)
        ignored = np.array([box.ignored for box in objects], dtype=bool)
        labelled = np.array([box.class_id is not None for box in objects], dtype=bool) & ~ignored
        classes = np.array([box.class_id or 0 for box in objects], dtype=np.int64)
        corners, fates = clip_boxes(ltwh, size_wh)
        for index in np.flatnonzero((fates != "inside") & (labelled | ignored)):
            kind, message = describe_fate(fates[index], ltwh[index], size_wh)
            self._add(objects[index].row, kind, message)
        kept = (fates == "inside") | (fates == "clipped")
        return LabelledImage(
            _key(entry.place),
            path,
            None,
            size_wh,
            corners[kept & labelled],
            classes[kept & labelled],
            corners[kept & ignored],
        )

    def _existing(self, place: str) -> Path:
        path = self.folder / place
        try:
            is_image = path.is_file() and path.suffix.lower() in DATASET_IMAGE_SUFFIXES
            str(path).encode("utf-8")
        except UnicodeEncodeError:
            raise EntryError("bad-name", f"is {place[:60]!r}, which is not Unicode") from None
        except (OSError, ValueError) as error:  # a name too long for the system, or with a NUL
            reason = getattr(error, "strerror", None) or error
            raise EntryError("missing-image", f"is {place[:60]!r}: {reason}") from None
        if not is_image:
            sibling = self.folder / PurePosixPath(place).name
            hint = f"; {sibling.name} lies in it without the folders" if _is_file(sibling) else ""
            raise EntryError(
                "missing-image",
                f"is {place[:60]!r}, which is not an image file in {self.folder}{hint}",
            )
        return path

    def _as_shown(
        self,
        ltwh: np.ndarray,
        stated_wh: tuple[int, int],
        size_wh: tuple[int, int],
        path: Path,
        row: int,
    ) -> np.ndarray:
        """Return boxes in the pixels of an image as it is shown, from those of the stated size."""
        stated = f"{stated_wh[0]}x{stated_wh[1]}"
        here = f"image {row} of the list is stated to be {stated} and is {size_wh[0]}x{size_wh[1]}"
        if _same_shape(stated_wh, size_wh):
            self._add(row, "size-scaled", f"{here}; its boxes are scaled")
            return ltwh * np.tile(np.divide(size_wh, stated_wh), 2)
        orientation = image_orientation(path)
        if orientation >= 5 and _same_shape(stated_wh, size_wh[::-1]):
            message = f"{here}, turned by its EXIF orientation; its boxes are turned along"
            self._add(row, "size-turned", message)
            return _turned(
                ltwh * np.tile(np.divide(size_wh[::-1], stated_wh), 2), size_wh, orientation
            )
        raise EntryError(
            "size-mismatch", f"is stated to be {stated} and is {size_wh[0]}x{size_wh[1]}"
        )

    def _without_twins(self, images: list[LabelledImage]) -> list[LabelledImage]:
        """Leave out images whose labels would share a file."""
        kept: dict[str, LabelledImage] = {}
        for image in images:
            first = kept.setdefault(image.key, image)
            if first is not image:
                message = (
                    f"{first.image} and {image.image} share a name without suffix; the second one "
                    f"is left out"
                )
                self._add(None, "same-name", message)
        return [kept[key] for key in sorted(kept)]


def _key(place: str) -> str:
    """Return an image's place below a split's folders, without suffix. A folder ``images`` in it is
    left out: labels are looked for beside the last folder of that name.
    """
    path = PurePosixPath(place).with_suffix("")
    return PurePosixPath(
        *(part for part in path.parent.parts if part != "images"), path.name
    ).as_posix()


def _content(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(decode_text(file.read_bytes()))
    except FileNotFoundError:
        raise DataNotFoundError(f"the annotation file {file} is not there") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    keys = ("images", "annotations", "categories")
    missing = [
        key
        for key in keys
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise DataError(
            f"{file} is not in COCO's layout: expected lists under {', '.join(keys)}; missing: "
            f"{', '.join(missing)}"
        )
    return content


def _ids(entries: list[Any], key: str) -> list[EntryId]:
    ids = (entry_id(entry.get(key)) for entry in entries if isinstance(entry, dict))
    return [value for value in ids if value is not None]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _same_shape(stated_wh: tuple[int, int], size_wh: tuple[int, ...]) -> bool:
    """Say whether one size is the other one scaled, its sides rounded to whole pixels."""
    scale_x, scale_y = size_wh[0] / stated_wh[0], size_wh[1] / stated_wh[1]
    larger_px = max(*stated_wh, *size_wh)
    smaller_px = larger_px / max(scale_x, 1 / scale_x, scale_y, 1 / scale_y)
    return abs(scale_x / scale_y - 1) * smaller_px <= 1.5


def _turned(ltwh: np.ndarray, size_wh: tuple[int, int], orientation: int) -> np.ndarray:
    """Turn boxes of the stored pixels as EXIF's orientations 5 to 8 turn these to be shown.

    Args:
        ltwh: (N, 4) in stored pixels.
        size_wh: width and height as shown.
        orientation: 5 transposed, 6 a quarter clockwise, 7 transposed the other way, 8 a quarter
            counterclockwise.
    """
    top, left, height, width = ltwh.T  # as shown: the axes change places
    if orientation in {6, 7}:
        left = size_wh[0] - left - width
    if orientation in {7, 8}:
        top = size_wh[1] - top - height
    return np.column_stack([left, top, width, height])
