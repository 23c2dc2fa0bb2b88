"""What was read of a split, whatever layout it came in; whether there is anything to learn from it;
and one list of classes for the splits of a dataset.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from yolo_ema.errors import DataError
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.image_labels import LabelledImage


@dataclasses.dataclass(frozen=True, eq=False)
class SplitContent:
    """A split as it was found.

    Attributes:
        names: the classes.
        images: the images that can be used, in order of name.
        anomalies: everything odd, file by file.
        images_found: number of images, those that are left out among them.
        annotations_found: number of annotations, whatever becomes of them.
        others: annotations of VisDrone's category 11, neither labelled nor ignored.
        trailing_commas: rows that end in a comma, which is harmless.
        rows_per_category: (12,) readable rows of each VisDrone category, boxes without area among
            them; empty for COCO's layout.
        official: the comparison with the official totals, as a sentence.
        official_equal: its verdict; None where there is nothing to compare with.
    """

    names: tuple[str, ...]
    images: list[LabelledImage]
    anomalies: list[Anomaly]
    images_found: int
    annotations_found: int
    others: int = 0
    trailing_commas: int = 0
    rows_per_category: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    official: str = ""
    official_equal: bool | None = None


def losses(anomalies: Iterable[Anomaly], what: str) -> dict[str, int]:
    """Return how many images or annotations (``what``: ``image``, ``annotation``) are left out for
    each kind of anomaly, the commonest first.
    """
    counts: Counter[str] = Counter()
    for anomaly in anomalies:
        if anomaly.lost == what:
            counts[anomaly.kind] += anomaly.count
    return dict(counts.most_common())


def refuse_empty(split: str, content: SplitContent) -> None:
    """Raise `DataError` where no image of a split can be used, or none of its annotations is an
    object: what would come of it looks like a dataset and teaches nothing. Test splits are
    published without annotations, and may have none.
    """
    if not content.images:
        raise DataError(
            f"{split}: none of its {content.images_found:,} images can be used"
            f"{_reasons(content.anomalies, 'image')}"
        )
    if any(len(image.classes) for image in content.images):
        return
    if not content.annotations_found and not split.startswith("test"):
        raise DataError(
            f"{split}: its {content.images_found:,} images have no annotations at all; expected "
            f"labelled objects, or a name in --splits that begins with test for images to detect on"
        )
    if content.annotations_found:
        ignored = sum(len(image.ignored_xyxy) for image in content.images)
        crowd = (
            f"; {ignored:,} became ignored regions (iscrowd or ignore is set, or VisDrone's score "
            f"is 0): clear it where single objects are meant"
            if ignored
            else ""
        )
        raise DataError(
            f"{split}: none of its {content.annotations_found:,} annotations becomes a labelled "
            f"object{crowd}{_reasons(content.anomalies, 'annotation')}"
        )


def _reasons(anomalies: Sequence[Anomaly], kind: str) -> str:
    counts = losses(anomalies, kind)
    if not counts:
        return ""
    first = next(anomaly for anomaly in anomalies if anomaly.lost == kind)
    listed = ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
    return f" ({listed}; the first: {first})"


def common_names(names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes of a dataset: those of the first split that has every class of the others.

    Raises:
        DataError: no split has every class, so that no one can say how they are numbered.
    """
    union = set().union(*names.values())
    complete = [listed for listed in names.values() if union == set(listed)]
    if not complete:
        differing = "; ".join(f"{split} {', '.join(listed)}" for split, listed in names.items())
        raise DataError(
            f"the splits have different classes, and none has all of them: {differing}; give every "
            f"file the same categories"
        )
    return complete[0]


def with_names(split: str, content: SplitContent, names: tuple[str, ...]) -> SplitContent:
    """Return a split's content with its classes renumbered by name to those of the dataset; a class
    that its annotations do not know is an anomaly.
    """
    if content.names == names:
        return content
    numbers = np.array([names.index(name) for name in content.names], dtype=np.int64)
    images = [dataclasses.replace(img, classes=numbers[img.classes]) for img in content.images]
    missing = [name for name in names if name not in content.names]
    message = (
        f"no category {', '.join(missing)}, which another split has; no image of {split} can show "
        f"one"
    )
    odd = [Anomaly(split, None, "missing-class", message, len(missing))] if missing else []
    return dataclasses.replace(
        content, names=names, images=images, anomalies=[*content.anomalies, *odd]
    )
