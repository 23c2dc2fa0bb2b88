"""Labels beside boxes: only where they hide no object, and shorter the more objects there are."""

from __future__ import annotations

import numpy as np

from yolo_ema.media.drawing.style import class_colour_bgr, copy_inside, render_label
from yolo_ema.media.frames import FrameDetections

_SIZE_PX = 12
_SCORES_UP_TO = 40
"""Up to this many objects per frame, labels say class and score; beyond it, the class only."""
_WORDS_UP_TO = 120
"""Beyond this many, only the legend names classes; identities still appear where there is room."""
_CELL_PX = 4
_LARGE_PX = 64
"""A box with longer sides than this may have a label inside, …"""
_BAND_PX = 8
"""… this far from its border."""


def draw_labels(canvas: np.ndarray, found: FrameDetections, scale: float) -> None:
    """Draw a label for each object that has room for one, by falling score."""
    if len(found) > _WORDS_UP_TO and found.track_ids is None:
        return
    boxes = np.nan_to_num(found.boxes_xyxy)
    size_px, gap = round(_SIZE_PX * scale), round(2 * scale)
    room = _Room(canvas.shape[1], canvas.shape[0], boxes)
    rows, class_ids = boxes.tolist(), found.class_ids.tolist()
    for row in np.argsort(-found.scores, kind="stable").tolist():
        colour = class_colour_bgr(class_ids[row])
        for text in _texts(found, row):
            label = render_label(text, size_px, colour)
            place = room.take(rows[row], (label.shape[1], label.shape[0]), gap)
            if place is not None:
                copy_inside(canvas, label, *place)
                break


def _texts(dets: FrameDetections, row: int) -> list[str]:
    """Return the possible labels of a box, the longest first."""
    number = ""
    if dets.track_ids is not None and (track_id := int(dets.track_ids[row])) >= 0:
        number = f"#{track_id}"
    if len(dets) > _WORDS_UP_TO:
        return [number] if number else []
    class_name = f"{number} {dets.names[int(dets.class_ids[row])]}".strip()
    texts = [f"{class_name} {dets.scores[row]:.2f}"] if len(dets) <= _SCORES_UP_TO else []
    return [*texts, class_name, *([number] if number else [])]


class _Room:
    """Which parts of the image are occupied, in cells of a few pixels."""

    def __init__(self, width: int, height: int, boxes_xyxy: np.ndarray) -> None:
        self._image_wh = (width, height)
        # in a crowd the other places are hardly ever free
        self._places = 4 if len(boxes_xyxy) <= _WORDS_UP_TO else 2
        self._taken = np.zeros((height // _CELL_PX + 2, width // _CELL_PX + 2), bool)
        for x1, y1, x2, y2 in boxes_xyxy.clip(0, (width, height, width, height)).tolist():
            if min(x2 - x1, y2 - y1) > _LARGE_PX:  # its middle is free for other things
                inner_x1, inner_y1, inner_x2, inner_y2 = (
                    x1 + _BAND_PX,
                    y1 + _BAND_PX,
                    x2 - _BAND_PX,
                    y2 - _BAND_PX,
                )
                for band in (
                    (x1, y1, x2, inner_y1),
                    (x1, inner_y2, x2, y2),
                    (x1, y1, inner_x1, y2),
                    (inner_x2, y1, x2, y2),
                ):
                    self._take(*band)
            else:
                self._take(x1, y1, x2, y2)

    def take(self, box: list[float], label_wh: tuple[int, int], gap: int) -> tuple[int, int] | None:
        """Occupy the first free place beside a box for a label; return its top left corner, or None
        if all are occupied.
        """
        x1, y1, x2, y2 = (round(edge) for edge in box)
        width, height = label_wh
        above, below, left, right = y1 - height - gap, y2 + gap + 1, x1 - gap, x2 - width + gap
        places = [(left, above), (left, below), (right, above), (right, below)][: self._places]
        if min(x2 - x1, y2 - y1) > _LARGE_PX:
            places.append((x1 + 2 * gap, y1 + 2 * gap))
        for x, y in places:
            inside = 0 <= y <= self._image_wh[1] - height and 0 <= x <= self._image_wh[0] - width
            if inside and not self._cells(x, y, x + width, y + height).any():
                self._take(x, y, x + width, y + height)
                return x, y
        return None

    def _cells(self, x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
        """Return the cells that lie wholly within a box, at least one."""
        left, top = -int(-x1 // _CELL_PX), -int(-y1 // _CELL_PX)
        return self._taken[
            top : max(top + 1, int(y2 // _CELL_PX)), left : max(left + 1, int(x2 // _CELL_PX))
        ]

    def _take(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self._taken[
            int(y1 // _CELL_PX) : -int(-y2 // _CELL_PX), int(x1 // _CELL_PX) : -int(-x2 // _CELL_PX)
        ] = True
