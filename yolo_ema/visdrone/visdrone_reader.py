"""Reads a split in VisDrone's layout: each image's size, its labels, and everything that is not as
it should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, OTHERS, VISDRONE_CLASSES, is_hidden
from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.io.text_files import shown_path
from yolo_ema.visdrone.annotations import UNREADABLE, Anomaly, read_annotations
from yolo_ema.visdrone.image_labels import LabelledImage, label_annotations
from yolo_ema.visdrone.split_content import SplitContent
from yolo_ema.visdrone.split_folders import SplitFolder


def read_split(folder: SplitFolder) -> SplitContent:
    """Read every image's header and annotations of a split.

    An image without annotations, or none of whose rows can be read, is left out, since it would
    teach that everything in it is background. Where a split's annotations were never published, its
    images are kept without labels.

    Raises:
        DataNotFoundError: the split has no images.
    """
    anomalies: list[Anomaly] = []
    images = _images_by_stem(folder.images, anomalies)
    if not images:
        raise DataNotFoundError(
            f"{folder.images} holds no images; expected files such as 0000001_02999_d_0000005.jpg"
        )
    files = _annotations_by_stem(folder, images, anomalies)
    labelled: list[LabelledImage] = []
    rows_per_category = np.zeros(OTHERS + 1, dtype=np.int64)
    trailing_commas = annotations_found = 0
    title = f"reading {folder.split}"
    for stem, image in tqdm(
        sorted(images.items()), desc=title, unit="image", disable=None, leave=False
    ):
        try:
            size_wh = image_wh(image)
        except (ImageHeaderError, OSError) as error:
            anomalies.append(_left_out(image, "unreadable-image", f"the image {error}"))
            continue
        if folder.annotations is None:
            labelled.append(_unlabelled(stem, image, size_wh))
            continue
        if stem not in files:
            expected = f"there is no {folder.annotations / f'{stem}.txt'}"
            anomalies.append(_left_out(image, "missing-annotation", expected))
            continue
        try:
            annotations = read_annotations(files[stem])
        except DataError as error:
            anomalies.append(_left_out(image, "unreadable-annotations", str(error)))
            continue
        unreadable = sum(anomaly.kind in UNREADABLE for anomaly in annotations.anomalies)
        annotations_found += len(annotations) + unreadable
        if unreadable and not len(annotations):
            anomalies += annotations.anomalies
            first = annotations.anomalies[0].message.partition("; the row is")[0]
            clause = f"none of the {unreadable} rows of {files[stem]} can be read: {first}"
            anomalies.append(_left_out(image, "unreadable-annotations", clause))
            continue
        labels, odd = label_annotations(annotations, stem, image, files[stem], size_wh)
        labelled.append(labels)
        anomalies += sorted([*annotations.anomalies, *odd], key=lambda anomaly: anomaly.row or 0)
        rows_per_category += np.bincount(annotations.category, minlength=OTHERS + 1)
        trailing_commas += annotations.trailing_commas
    return SplitContent(
        VISDRONE_CLASSES,
        labelled,
        anomalies,
        images_found=len(images),
        annotations_found=annotations_found,
        others=int(rows_per_category[OTHERS]),
        trailing_commas=trailing_commas,
        rows_per_category=rows_per_category,
    )


def _left_out(image: Path, kind: str, clause: str) -> Anomaly:
    return Anomaly(str(image), None, kind, f"{clause}; the image is left out")


def _unlabelled(stem: str, image: Path, size_wh: tuple[int, int]) -> LabelledImage:
    no_boxes = np.zeros((0, 4))
    return LabelledImage(
        stem, image, None, size_wh, no_boxes, np.zeros(0, dtype=np.int64), no_boxes
    )


def _images_by_stem(folder: Path, anomalies: list[Anomaly]) -> dict[str, Path]:
    """Return a folder's images by name without suffix; a second image of one name is an anomaly,
    since both would share labels.
    """
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not is_hidden(path.name):
            anomalies += _in_folder(path)
        if path.suffix.lower() not in DATASET_IMAGE_SUFFIXES or is_hidden(path.name):
            continue
        if shown_path(path.name) != path.name:
            message = (
                "the name is not Unicode, which labels and lists require; the image is left out"
            )
            anomalies.append(Anomaly(shown_path(path), None, "bad-name", message))
        elif path.stem in images:
            kept = images[path.stem].name
            message = f"{kept} has the same name without suffix; this one is left out"
            anomalies.append(Anomaly(str(path), None, "same-name", message))
        else:
            images[path.stem] = path
    return images


def _in_folder(folder: Path) -> Iterator[Anomaly]:
    """Yield that a folder inside a split's has images, which VisDrone's layout does not know."""
    files = (path for path in folder.rglob("*") if not is_hidden(path.name))
    count = sum(path.suffix.lower() in DATASET_IMAGE_SUFFIXES for path in files)
    if count:
        message = f"it is a folder inside the split's, whose {count} images are left out"
        yield Anomaly(str(folder), None, "sub-folder", message, count)


def _annotations_by_stem(
    folder: SplitFolder, images: dict[str, Path], anomalies: list[Anomaly]
) -> dict[str, Path]:
    if folder.annotations is None:
        return {}
    files = {
        path.stem: path
        for path in sorted(folder.annotations.glob("*.txt"))
        if not is_hidden(path.name)
    }
    for stem in sorted(files.keys() - images.keys()):
        message = f"there is no image {shown_path(stem)} in {folder.images}; they are left out"
        anomalies.append(Anomaly(shown_path(files[stem]), None, "stray-annotation", message))
    return {stem: files[stem] for stem in files.keys() & images.keys()}
