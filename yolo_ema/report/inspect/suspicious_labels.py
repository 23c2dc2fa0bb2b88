"""Labels that deserve a second look. None of them need be wrong; each is named with its file and
row.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from yolo_ema.boxes import box_iou
from yolo_ema.engine.data.split_files import label_path
from yolo_ema.report.inspect.dataset_scan import SplitScan

__all__ = ["KINDS", "Suspicion", "suspicious_labels"]

TINY_PX = 2.0
HUGE_SHARE = 0.5
EXTREME_ASPECT = 10.0
SAME_IOU = 0.9
OUTSIDE_PX = 1.0

KINDS = {
    "tiny": f"a side of at most {TINY_PX:g} px in the image",
    "huge": f"more than {100 * HUGE_SHARE:g} % of the image's area",
    "extreme aspect": f"one side more than {EXTREME_ASPECT:g} times the other",
    "duplicate": f"the class of another box that it overlaps with an IoU of at least {SAME_IOU:g}, "
    f"or a repeated row",
    "two classes": f"another class than a box that it overlaps with an IoU of at least "
    f"{SAME_IOU:g}",
    "outside": f"more than {OUTSIDE_PX:g} px beyond the image's border",
}


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """A label to look at: ``kind`` is one of `KINDS`, ``box_xyxy`` is in pixels of the image,
    ``row`` counts from 1.
    """

    split: str
    kind: str
    image: str
    file: str
    row: int | None
    class_id: int | None
    box_xyxy: tuple[float, float, float, float] | None


def suspicious_labels(scan: SplitScan) -> list[Suspicion]:
    """Return the suspicious labels of a split, in order of image, then of `KINDS`."""
    found: list[tuple[int, str, int]] = []
    sides = scan.boxes_xyxy[:, 2:] - scan.boxes_xyxy[:, :2]
    sizes = scan.sizes_wh[scan.image_of].reshape(-1, 2)
    longer, shorter = sides.max(axis=1, initial=0), sides.min(axis=1, initial=np.inf)
    beyond = np.maximum(-scan.boxes_xyxy[:, :2], scan.boxes_xyxy[:, 2:] - sizes).max(
        axis=1, initial=-np.inf
    )
    tests = {
        # A rounding in the sixth decimal of a label must not lift a box of two pixels over the
        # limit.
        "tiny": shorter <= TINY_PX + 0.01,
        "huge": sides.prod(axis=1) > HUGE_SHARE * sizes.prod(axis=1),
        "extreme aspect": longer > EXTREME_ASPECT * np.maximum(shorter, 1e-9) + 0.01,
        "outside": beyond > OUTSIDE_PX,
    }
    for kind, hit in tests.items():
        found += [(int(scan.image_of[index]), kind, int(index)) for index in np.flatnonzero(hit)]
    found += [(int(scan.image_of[index]), kind, index) for kind, index in _overlapping(scan)]
    order = {kind: place for place, kind in enumerate(KINDS)}
    found.sort(key=lambda one: (one[0], order[one[1]], one[2]))
    rows = _Rows()
    labels = [_suspicion(scan, kind, index, rows) for _, kind, index in found]
    image_of_file = {str(label_path(image)): image for image in scan.images}
    return labels + [
        Suspicion(
            scan.split,
            "duplicate",
            str(image_of_file[note.file]),
            note.file,
            note.row or None,
            None,
            None,
        )
        for note in scan.repeated
    ]


def _suspicion(scan: SplitScan, kind: str, index: int, rows: _Rows) -> Suspicion:
    place = int(scan.image_of[index])
    image, class_id = scan.images[place], int(scan.classes[index])
    box = scan.boxes_xyxy[index]
    file = label_path(image)
    row = rows.find(file, class_id, box / np.tile(scan.sizes_wh[place], 2))
    x1, y1, x2, y2 = (round(float(number), 2) for number in box)
    return Suspicion(scan.split, kind, str(image), str(file), row, class_id, (x1, y1, x2, y2))


def _overlapping(scan: SplitScan) -> Iterator[tuple[str, int]]:
    """Yield the later of two boxes of one image that overlap almost wholly."""
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


class _Rows:
    """Finds the row of a label file that a box was read from; files are read once, and only those
    that are asked for.
    """

    def __init__(self) -> None:
        self._files: dict[Path, list[tuple[int, np.ndarray]]] = {}

    def find(self, file: Path, class_id: int, box_xyxy: np.ndarray) -> int | None:
        """Return the row, counted from 1; ``box_xyxy`` is in shares of the image."""
        if file not in self._files:
            self._files[file] = list(_numbered(file))
        for row, found in self._files[file]:
            if found[0] == class_id and np.allclose(found[1:], box_xyxy, atol=1e-6):
                return row
        return None


def _numbered(file: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each row's number, class and corners as shares of the image."""
    for row, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        try:
            numbers = np.array(line.split(), dtype=np.float32).astype(np.float64)
        except ValueError:
            continue
        if len(numbers) == 5:
            yield (
                row,
                np.concatenate(
                    [numbers[:1], numbers[1:3] - numbers[3:] / 2, numbers[1:3] + numbers[3:] / 2]
                ),
            )
        elif len(numbers) > 6 and len(numbers) % 2:
            points = numbers[1:].reshape(-1, 2)
            yield row, np.concatenate([numbers[:1], points.min(axis=0), points.max(axis=0)])
