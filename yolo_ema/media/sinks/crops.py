"""Crops: one small image per object."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from yolo_ema.constants import JPEG_SIDE
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sinks.unique_paths import write_unique

LARGEST_NUMBER = 10_000
"""A minute of video with 300 objects per frame would be half a million files."""


class Crops(Sink):
    """``crops/<class>/<image>-<row>.jpg``: the pixels of each box, by falling score from row 1,
    with ``-id<track>`` if tracked; ``.png`` where a box is too long for JPEG.

    Attributes:
        left_out: how many objects got no crop because ``limit`` was reached.
    """

    def __init__(self, out: Path, *, limit: int = LARGEST_NUMBER) -> None:
        """Write below ``out / "crops"``, at most ``limit`` images in total."""
        self.folder = out / "crops"
        self.paths = (self.folder,)
        self.left_out = 0
        self._limit, self._written = limit, 0

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Write the objects of one frame; each file appears whole. Raises `DiskFullError` if there
        is no space.
        """
        stem, (width, height) = context.frame_stem(found.frame), found.frame.image_wh
        starts = np.floor(found.boxes_xyxy[:, :2]).astype(int).clip(0)
        ends = np.minimum(np.ceil(found.boxes_xyxy[:, 2:]).astype(int), (width, height))
        for row, ((x1, y1), (x2, y2)) in enumerate(
            zip(starts.tolist(), ends.tolist(), strict=True)
        ):
            if x1 >= x2 or y1 >= y2:
                continue
            if self._written >= self._limit:
                self.left_out += 1
                continue
            suffix = ".jpg" if max(x2 - x1, y2 - y1) <= JPEG_SIDE else ".png"
            _, content = cv2.imencode(suffix, found.frame.image_bgr[y1:y2, x1:x2])
            folder = self.folder / _safe(found.names[int(found.class_ids[row])])
            write_unique(
                folder, f"{stem}-{row + 1:03d}{_identity(found, row)}", suffix, content.tobytes()
            )
            self._written += 1


def _identity(dets: FrameDetections, row: int) -> str:
    return (
        f"-id{dets.track_ids[row]}"
        if dets.track_ids is not None and dets.track_ids[row] >= 0
        else ""
    )


def _safe(name: str) -> str:
    """Return a class name as a folder name; names come from weights, which may say anything."""
    return re.sub(r"[^\w-]+", "_", name).strip("_")[:60] or "unnamed"
