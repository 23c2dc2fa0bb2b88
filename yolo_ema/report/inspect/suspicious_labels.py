"""Labels that deserve a second look. They may be right; each is named with its file and row."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from yolo_ema.boxes import box_iou
from yolo_ema.engine.data.split_files import label_path
from yolo_ema.report.inspect.dataset_scan import SplitScan

TINY_PX = 2.0
HUGE_SHARE = 0.5
EXTREME_ASPECT = 10.0
SAME_IOU = 0.9
OUTSIDE_PX = 1.0

KINDS = {
    "tiny": f"a side of at most {TINY_PX:g} px in the image",
    "huge": f"more than {100 * HUGE_SHARE:g} % of the image's area",
    "extreme aspect": f"one side more than {EXTREME_ASPECT:g} times the other",
    "duplicate": f"the class of another box at an IoU of at least {SAME_IOU:g}, or a repeated row",
    "two classes": f"another class than a box at an IoU of at least {SAME_IOU:g}",
    "outside": f"more than {OUTSIDE_PX:g} px beyond the image's border",
}


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """A label to check: ``kind`` is one of `KINDS`, ``box_xyxy`` is in pixels of the image, ``row``
    counts from 1. A repeated row has no box of its own.
    """

    split: str
    kind: str
    image: str
    file: str
    row: int
    class_id: int | None
    box_xyxy: tuple[float, float, float, float] | None


def suspicious_labels(scan: SplitScan) -> list[Suspicion]:
    """Return the suspicious labels of a split, in order of image, then of `KINDS`."""
    sides = scan.boxes_xyxy[:, 2:] - scan.boxes_xyxy[:, :2]
    sizes = scan.sizes_wh[scan.image_of]
    longer, shorter = sides.max(axis=1, initial=0), sides.min(axis=1, initial=np.inf)
    beyond = np.maximum(-scan.boxes_xyxy[:, :2], scan.boxes_xyxy[:, 2:] - sizes).max(
        axis=1, initial=-np.inf
    )
    tests = {
        # Labels are rounded to six decimals, which must not lift two pixels over the limit.
        "tiny": shorter <= TINY_PX + 0.01,
        "huge": sides.prod(axis=1) > HUGE_SHARE * sizes.prod(axis=1),
        "extreme aspect": longer > EXTREME_ASPECT * np.maximum(shorter, 1e-9) + 0.01,
        "outside": beyond > OUTSIDE_PX,
    }
    hits = [(kind, int(box)) for kind, hit in tests.items() for box in np.flatnonzero(hit)]
    hits += _overlapping(scan)
    order = list(KINDS)
    hits.sort(key=lambda hit: (scan.image_of[hit[1]], order.index(hit[0]), hit[1]))
    labels = [_suspicion(scan, kind, box) for kind, box in hits]
    image_of_file = {str(label_path(image)): str(image) for image in scan.images}
    return labels + [
        Suspicion(
            scan.split, "duplicate", image_of_file[note.file], note.file, note.row, None, None
        )
        for note in scan.repeated
        if note.file in image_of_file
    ]


def _suspicion(scan: SplitScan, kind: str, box: int) -> Suspicion:
    image = scan.images[int(scan.image_of[box])]
    x1, y1, x2, y2 = (round(float(number), 2) for number in scan.boxes_xyxy[box])
    return Suspicion(
        split=scan.split,
        kind=kind,
        image=str(image),
        file=str(label_path(image)),
        row=int(scan.row_numbers[box]),
        class_id=int(scan.classes[box]),
        box_xyxy=(x1, y1, x2, y2),
    )


def _overlapping(scan: SplitScan) -> Iterator[tuple[str, int]]:
    """Yield the later of two boxes of an image that overlap almost entirely."""
    starts = np.searchsorted(scan.image_of, np.arange(len(scan.images) + 1))
    for start, stop in itertools.pairwise(starts.tolist()):
        if stop - start < 2:
            continue
        boxes = scan.boxes_xyxy[start:stop]
        first, second = np.nonzero(np.triu(box_iou(boxes[:, None], boxes) >= SAME_IOU, k=1))
        classes = scan.classes[start:stop]
        same = classes[first] == classes[second]
        yield from (("duplicate", int(start + index)) for index in np.unique(second[same]))
        yield from (("two classes", int(start + index)) for index in np.unique(second[~same]))
