"""Reads a split in COCO's layout: one JSON file of images, annotations and categories beside a
folder of images.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import IMAGE_SUFFIXES
from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.image_labels import LabelledImage, clip_boxes, describe_fate

__all__ = ["CocoContent", "read_coco"]


@dataclasses.dataclass(frozen=True, eq=False)
class CocoContent:
    """A split as it was found: class names in order of category number, usable images in order of
    path, everything odd.
    """

    names: tuple[str, ...]
    images: list[LabelledImage]
    anomalies: list[Anomaly]


def read_coco(file: Path, folder: Path) -> CocoContent:
    """Read a split in COCO's layout.

    Categories become the classes 0, 1, … in order of their ids. Annotations with ``iscrowd`` or
    ``ignore`` set become ignored regions. Boxes are clipped to the image; those without area, and
    those outside it, are dropped. Anomalies name the annotation by its place in the list, counted
    from 1.

    Args:
        file: the JSON file; its ``file_name`` entries are places below ``folder``.
        folder: the folder of images.

    Raises:
        DataNotFoundError: the file or the folder is not there.
        DataError: the file is no JSON in this layout, or two categories share an id or a name.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"the image folder {folder} is not there")
    content = _content(file)
    classes, names = _classes(content["categories"], file)
    anomalies: list[Anomaly] = []
    boxes = _boxes(content["annotations"], classes, file, anomalies)
    images = []
    known = set()
    for row, entry in enumerate(
        tqdm(
            content["images"], desc=f"reading {file.name}", unit="image", disable=None, leave=False
        ),
        start=1,
    ):
        try:
            image_id, place = _image(entry)
            known.add(image_id)
            path = _existing(folder, place)
            size_wh = image_wh(path)
        except (_EntryError, ImageHeaderError) as error:
            kind = error.kind if isinstance(error, _EntryError) else "unreadable-image"
            anomalies.append(
                Anomaly(str(file), row, kind, f"image {row} of the list {error}; it is left out")
            )
            continue
        labels, odd = _label(boxes.get(image_id, []), path, size_wh, file)
        images.append(
            dataclasses.replace(labels, key=PurePosixPath(place).with_suffix("").as_posix())
        )
        anomalies += odd
    for image_id in boxes.keys() - known:
        message = (
            f"no image has the id {image_id!r}; its annotations, {len(boxes[image_id])} in "
            f"number, are left out"
        )
        anomalies.append(Anomaly(str(file), boxes[image_id][0].row, "missing-image", message))
    return CocoContent(names, _without_twins(images, file, anomalies), anomalies)


def _boxes(
    annotations: list[Any], classes: Mapping[int, int], file: Path, anomalies: list[Anomaly]
) -> dict[Any, list[_Box]]:
    """Return the readable annotations by image id."""
    boxes: dict[Any, list[_Box]] = defaultdict(list)
    for row, annotation in enumerate(annotations, start=1):
        try:
            box = _box(annotation, row, classes)
        except _EntryError as error:
            anomalies.append(
                Anomaly(str(file), row, error.kind, f"{error}; the annotation is left out")
            )
            continue
        boxes[box.image_id].append(box)
    return boxes


@dataclasses.dataclass(frozen=True)
class _Box:
    row: int
    image_id: Any
    ltwh: tuple[float, float, float, float]
    class_id: int
    ignored: bool


class _EntryError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _content(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataNotFoundError(f"the annotation file {file} is not there") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON: {error}") from error
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


def _classes(categories: list[Any], file: Path) -> tuple[Mapping[Any, int], tuple[str, ...]]:
    if not categories or not all(
        isinstance(one, dict) and isinstance(one.get("id"), int) and one.get("name")
        for one in categories
    ):
        raise DataError(f"{file}: expected categories with a whole number as id and a name each")
    ordered = sorted(categories, key=lambda one: one["id"])
    names = tuple(str(one["name"]) for one in ordered)
    ids = [one["id"] for one in ordered]
    for what, values in (("id", ids), ("name", names)):
        if len(set(values)) < len(values):
            raise DataError(f"{file}: two categories share a{'n' if what == 'id' else ''} {what}")
    return {number: index for index, number in enumerate(ids)}, names


def _box(annotation: Any, row: int, classes: Mapping[Any, int]) -> _Box:
    if not isinstance(annotation, dict):
        raise _EntryError(
            "field-count", f"annotation {row} is {type(annotation).__name__}, expected an object"
        )
    ltwh = annotation.get("bbox")
    if (
        not isinstance(ltwh, list)
        or len(ltwh) != 4
        or not all(isinstance(n, int | float) and abs(n) < 1e7 for n in ltwh)
    ):
        raise _EntryError(
            "bad-box",
            f"annotation {row} has the bbox {str(ltwh)[:60]}, expected [left, top, width, height] "
            f"in pixels",
        )
    ignored = bool(annotation.get("iscrowd")) or bool(annotation.get("ignore"))
    category = annotation.get("category_id")
    if not isinstance(category, int) or category not in classes:
        if not ignored:
            raise _EntryError(
                "unknown-category",
                f"annotation {row} has the category_id {category!r}, which no category has",
            )
        category = next(iter(classes))  # an ignored region has no class
    image_id = annotation.get("image_id")
    if not isinstance(image_id, int | str):
        raise _EntryError("missing-image", f"annotation {row} has the image_id {image_id!r}")
    return _Box(
        row,
        image_id,
        (float(ltwh[0]), float(ltwh[1]), float(ltwh[2]), float(ltwh[3])),
        classes[category],
        ignored,
    )


def _image(entry: Any) -> tuple[Any, str]:
    """Return an image's id and its place below the image folder."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name or not isinstance(entry.get("id"), int | str):
        raise _EntryError("field-count", "has no id or no file_name")
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        raise _EntryError(
            "unsafe-name", f"has the file_name {name!r}, which leads out of the image folder"
        )
    return entry["id"], place.as_posix()


def _existing(folder: Path, place: str) -> Path:
    path = folder / place
    if not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES:
        raise _EntryError("missing-image", f"is {place!r}, which is no image file in {folder}")
    return path


def _label(
    boxes: list[_Box], image: Path, size_wh: tuple[int, int], file: Path
) -> tuple[LabelledImage, list[Anomaly]]:
    ltwh = np.array([box.ltwh for box in boxes], dtype=np.float64).reshape(-1, 4)
    classes = np.array([box.class_id for box in boxes], dtype=np.int64)
    ignored = np.array([box.ignored for box in boxes], dtype=bool)
    corners, fates = clip_boxes(ltwh, size_wh)
    odd = [
        Anomaly(str(file), boxes[index].row, *describe_fate(fates[index], ltwh[index], size_wh))
        for index in np.flatnonzero(fates != "inside")
    ]
    kept = (fates == "inside") | (fates == "clipped")
    objects = kept & ~ignored
    return LabelledImage(
        image.stem,
        image,
        None,
        size_wh,
        corners[objects],
        classes[objects],
        corners[kept & ignored],
    ), odd


def _without_twins(
    images: list[LabelledImage], file: Path, anomalies: list[Anomaly]
) -> list[LabelledImage]:
    """Leave out images whose labels would share a file."""
    kept: dict[str, LabelledImage] = {}
    for one in images:
        if one.key in kept:
            message = (
                f"{one.image} and {kept[one.key].image} share a name without suffix; the "
                f"first one is left out"
            )
            anomalies.append(Anomaly(str(file), None, "same-name", message))
            continue
        kept[one.key] = one
    return [kept[key] for key in sorted(kept)]
