"""Reads a split in VisDrone's layout: each image's size, its labels, and everything that is not as
it should be.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import IMAGE_SUFFIXES, OTHERS
from yolo_ema.errors import DataNotFoundError
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.visdrone.annotations import Anomaly, read_annotations
from yolo_ema.visdrone.split_folders import SplitFolder
from yolo_ema.visdrone.image_labels import LabelledImage, label_annotations

__all__ = ["SplitContent", "images_by_stem", "read_split"]


@dataclasses.dataclass(frozen=True, eq=False)
class SplitContent:
    """A split as it was found.

    Attributes:
        images: the images that can be used, in order of name.
        images_found: number of images in the folder, those that are left out among them.
        anomalies: everything odd, file by file.
        rows_per_category: (12,) readable rows of each category, boxes without area among them.
        trailing_commas: rows that end in a comma, which is harmless.
    """

    images: list[LabelledImage]
    images_found: int
    anomalies: list[Anomaly]
    rows_per_category: np.ndarray
    trailing_commas: int


def read_split(folder: SplitFolder) -> SplitContent:
    """Read every image's header and annotations of a split.

    An image without annotations is left out, since it would teach that everything in it is
    background. Where a split's annotations were never published, its images are kept without
    labels.

    Raises:
        DataNotFoundError: the split has no images.
    """
    anomalies: list[Anomaly] = []
    images = images_by_stem(folder.images, anomalies)
    if not images:
        raise DataNotFoundError(
            f"{folder.images} holds no images; expected files such as 0000001_02999_d_0000005.jpg"
        )
    notes = _notes_by_stem(folder, images, anomalies)
    labelled: list[LabelledImage] = []
    rows_per_category = np.zeros(OTHERS + 1, dtype=np.int64)
    trailing_commas = 0
    for stem, image in tqdm(
        sorted(images.items()),
        desc=f"reading {folder.split}",
        unit="image",
        disable=None,
        leave=False,
    ):
        if folder.annotations is not None and stem not in notes:
            expected = folder.annotations / f"{stem}.txt"
            anomalies.append(
                Anomaly(
                    str(image),
                    None,
                    "missing-annotation",
                    f"there is no {expected}; the image is left out",
                )
            )
            continue
        try:
            size_wh = image_wh(image)
        except ImageHeaderError as error:
            anomalies.append(
                Anomaly(str(image), None, "unreadable-image", f"the image {error}; it is left out")
            )
            continue
        if stem not in notes:
            labelled.append(
                LabelledImage(
                    stem,
                    image,
                    None,
                    size_wh,
                    np.zeros((0, 4)),
                    np.zeros(0, dtype=np.int64),
                    np.zeros((0, 4)),
                )
            )
            continue
        annotations = read_annotations(notes[stem])
        labels, odd = label_annotations(annotations, stem, image, notes[stem], size_wh)
        labelled.append(labels)
        anomalies += sorted([*annotations.anomalies, *odd], key=lambda anomaly: anomaly.row or 0)
        rows_per_category += np.bincount(annotations.category, minlength=OTHERS + 1)
        trailing_commas += annotations.trailing_commas
    return SplitContent(labelled, len(images), anomalies, rows_per_category, trailing_commas)


def images_by_stem(folder: Path, anomalies: list[Anomaly]) -> dict[str, Path]:
    """Return a folder's images by name without suffix; a second image of one name is an anomaly,
    since both would share labels.
    """
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in images:
            kept = images[path.stem].name
            anomalies.append(
                Anomaly(
                    str(path),
                    None,
                    "same-name",
                    f"{kept} has the same name without suffix; this one is left out",
                )
            )
            continue
        images[path.stem] = path
    return images


def _notes_by_stem(
    folder: SplitFolder, images: dict[str, Path], anomalies: list[Anomaly]
) -> dict[str, Path]:
    if folder.annotations is None:
        return {}
    notes = {
        path.stem: path
        for path in sorted(folder.annotations.glob("*.txt"))
        if not path.name.startswith(".")
    }
    for stem in sorted(notes.keys() - images.keys()):
        message = f"there is no image {stem} in {folder.images}; the annotations are left out"
        anomalies.append(Anomaly(str(notes[stem]), None, "missing-image", message))
    return {stem: notes[stem] for stem in notes.keys() & images.keys()}
