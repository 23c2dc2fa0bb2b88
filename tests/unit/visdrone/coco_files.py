"""Datasets in COCO's layout on disk, prepared."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from PIL import Image

from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.prepare import prepare

CATEGORIES = [{"id": 7, "name": "boat"}, {"id": 3, "name": "buoy"}]
HERE = [10, 20, 30, 40]


def coco_dataset(
    folder: Path, annotations: list, *, images: list | None = None, categories: list | None = None
) -> tuple[Path, Path]:
    for name in ("a.jpg", "sub/b.png", "c.jpg"):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(path)
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict):
            annotation["id"] = number
    content = {
        "images": images
        or [
            {"id": 1, "file_name": "a.jpg"},
            {"id": 2, "file_name": "sub/b.png"},
            {"id": 9, "file_name": "c.jpg"},
        ],
        "annotations": annotations,
        "categories": CATEGORIES if categories is None else categories,
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json", folder / "photos"


def box(image_id: object, bbox: object, category_id: object = 7, **more) -> dict:
    return {"id": 1, "image_id": image_id, "bbox": bbox, "category_id": category_id, **more}


def coco_split(folder: Path, names: dict[object, str], objects: list[tuple[object, list]]) -> tuple:
    """A file and its images: one object an image, given by category id and box."""
    images = [{"id": n, "file_name": f"{n}.jpg"} for n, _ in enumerate(objects, start=1)]
    for one in images:
        (folder / "photos").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(folder / "photos" / one["file_name"])
    annotations = [box(n, bbox, category) for n, (category, bbox) in enumerate(objects, start=1)]
    categories = [{"id": number, "name": name} for number, name in names.items()]
    file, _ = coco_dataset(folder, annotations, images=images, categories=categories)
    return file, folder / "photos"


def prepare_coco(root: Path, *splits: tuple[Path, Path], names: tuple[str, ...] = ("train", "val")):
    files, folders = zip(*splits, strict=True)
    return prepare(
        PrepareOptions(
            dataset="coco",
            root=root,
            annotations=files,
            images=folders,
            splits=names[: len(splits)],
        )
    )


def label_classes(root: Path, split: str) -> list[str]:
    names = yaml.safe_load((root / "root.yaml").read_text())["names"]
    rows = [
        row
        for file in sorted((root / "labels" / split).iterdir())
        for row in file.read_text().splitlines()
    ]
    return [names[int(row.split()[0])] for row in rows]
