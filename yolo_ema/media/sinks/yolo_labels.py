"""YOLO label files: one text file per image or frame, with rows of ``class x_center y_center width
height`` as shares of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yolo_ema.io.text_files import one_line
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sinks.unique_paths import write_unique


class YoloLabels(Sink):
    """``yolo/labels/<image>.txt`` and ``yolo/classes.txt``; a frame without objects gets an empty
    file, as training expects.
    """

    def __init__(self, out: Path, names: Mapping[int, str], *, scores: bool = False) -> None:
        """Write the class names.

        Args:
            out: the folder that gets ``yolo/``.
            names: class by id, of all classes of the weights; a class's line in ``classes.txt`` is
                its id.
            scores: append the score as the sixth number of a row, for tools that compare
                detections.

        Raises:
            DiskFullError: there is no space left.
        """
        lines = [
            names.get(number, f"class {number}") for number in range(max(names, default=-1) + 1)
        ]
        self.folder = out / "yolo"
        self.paths = (self.folder,)
        self._scores = scores
        content = "".join(f"{one_line(name)}\n" for name in lines)
        write_unique(self.folder, "classes", ".txt", content.encode("utf-8"))

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Write one file; it appears whole. Raises `DiskFullError` if there is no space."""
        width, height = found.frame.image_wh
        x1, y1, x2, y2 = (
            (
                np.asarray(found.boxes_xyxy, np.float64).reshape(-1, 4)
                / (width, height, width, height)
            )
            .clip(0, 1)
            .T
        )
        columns = [
            (x1 + x2) / 2,
            (y1 + y2) / 2,
            x2 - x1,
            y2 - y1,
            *([np.asarray(found.scores)] if self._scores else []),
        ]
        rows = zip(found.class_ids.tolist(), np.column_stack(columns).tolist(), strict=True)
        content = "".join(
            f"{class_id} {' '.join(f'{number:.6f}' for number in numbers)}\n"
            for class_id, numbers in rows
        )
        write_unique(
            self.folder / "labels", context.frame_stem(found.frame), ".txt", content.encode()
        )
