"""Drawing detections so that a picture with 300 small objects stays readable.

Thin lines, labels only where there is room, a legend with counts, and colours that colour-blind viewers can tell apart (the
palette of Okabe and Ito, 2008, then lighter ones).
"""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from yolo_ema.footage.frames import FrameDetections

__all__ = ["class_colour_bgr", "draw_detections"]

_PALETTE_RGB = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
    (120, 255, 190),
    (255, 170, 170),
    (150, 110, 255),
    (170, 170, 170),
)
_CROWDED = 40
"""Above so many objects a frame, boxes carry no label: the legend tells the classes."""
_ROOM_FOR_LABEL_PX = 18


def class_colour_bgr(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class."""
    red, green, blue = _PALETTE_RGB[class_id % len(_PALETTE_RGB)]
    return blue, green, red


def draw_detections(found: FrameDetections) -> np.ndarray:
    """Return a copy of the frame with boxes, labels where there is room, and a legend of counts: (H, W, 3) uint8 BGR."""
    canvas = found.frame.image_bgr.copy()
    scale = max(1.0, max(canvas.shape[:2]) / 1280)
    # Weak boxes first, so that the surest lie on top.
    order = np.argsort(found.scores, kind="stable")
    for row in order:
        _draw_box(canvas, found, int(row), scale)
    if len(found) <= _CROWDED:
        for row in order:
            _draw_label(canvas, found, int(row), scale)
    _draw_legend(canvas, found, scale)
    return canvas


def _corners(found: FrameDetections, row: int) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(float(edge)) for edge in found.boxes_xyxy[row])
    return x1, y1, x2, y2


def _draw_box(canvas: np.ndarray, found: FrameDetections, row: int, scale: float) -> None:
    x1, y1, x2, y2 = _corners(found, row)
    small = min(x2 - x1, y2 - y1) < 24 * scale
    thickness = max(1, round(scale if small else 2 * scale))
    colour = class_colour_bgr(int(found.class_ids[row]))
    if not small:  # a dark edge keeps light colours visible on light ground
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)


def _draw_label(canvas: np.ndarray, found: FrameDetections, row: int, scale: float) -> None:
    x1, y1, x2, _y2 = _corners(found, row)
    if x2 - x1 < _ROOM_FOR_LABEL_PX * scale:
        return
    class_id = int(found.class_ids[row])
    text = f"{found.names[class_id]} {found.scores[row]:.2f}"
    if found.track_ids is not None and found.track_ids[row] >= 0:
        text = f"#{found.track_ids[row]} {text}"
    _text_on_plate(canvas, text, (x1, y1 - round(2 * scale)), class_colour_bgr(class_id), 0.38 * scale)


def _draw_legend(canvas: np.ndarray, found: FrameDetections, scale: float) -> None:
    counts = Counter(int(class_id) for class_id in found.class_ids)
    line_px = round(16 * scale)
    for place, (class_id, count) in enumerate(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))):
        bottom = round(4 * scale) + (place + 1) * line_px
        _text_on_plate(
            canvas, f"{count:4d} {found.names[class_id]}", (round(4 * scale), bottom), class_colour_bgr(class_id), 0.45 * scale
        )


def _text_on_plate(
    canvas: np.ndarray, text: str, bottom_left: tuple[int, int], colour_bgr: tuple[int, int, int], size: float
) -> None:
    """Write ``text`` in black on a plate of the class's colour, pushed inside the picture."""
    thickness = max(1, round(size * 1.5))
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    x = int(np.clip(bottom_left[0], 0, max(0, canvas.shape[1] - width - 2)))
    y = int(np.clip(bottom_left[1], height + 2, canvas.shape[0] - baseline))
    cv2.rectangle(canvas, (x, y - height - 2), (x + width + 2, y + baseline), colour_bgr, cv2.FILLED)
    cv2.putText(canvas, text, (x + 1, y), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thickness, cv2.LINE_AA)
