"""Images with hits, misses and false alarms drawn in, as JPEGs inside the page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from yolo_ema.metrics.error_analysis import ImageErrors

COLOURS = {
    "found": "#56b4e9",
    "missed": "#ff2fa8",
    "false alarm": "#ffd92f",
    "ignored region": "#999999",
}
LONGEST_SIDE_PX = 1280
JPEG_QUALITY = 75


def draw_errors(image_bgr: np.ndarray, errors: ImageErrors, regions_ltwh: np.ndarray) -> np.ndarray:
    """Return a copy with sides of at most 1280 pixels and the boxes drawn in `COLOURS`, the missed
    ones on top.

    Args:
        image_bgr: (H, W, 3) uint8.
        errors: what went right and wrong in it; boxes in its pixels.
        regions_ltwh: (R, 4) ignored regions, drawn greyed out.
    """
    scale = min(1.0, LONGEST_SIDE_PX / max(image_bgr.shape[:2]))
    side_wh = (max(1, round(image_bgr.shape[1] * scale)), max(1, round(image_bgr.shape[0] * scale)))
    canvas = (
        cv2.resize(image_bgr, side_wh, interpolation=cv2.INTER_AREA)
        if scale < 1
        else image_bgr.copy()
    )
    for left, top, right, bottom in _corners(regions_ltwh, scale, canvas):
        inside = canvas[top : bottom + 1, left : right + 1]
        inside[:] = (0.35 * inside + 0.65 * 128).astype(np.uint8)
    for rows, name, thickness in (
        (errors.found, "found", 1),
        (errors.false_alarms, "false alarm", 2),
        (errors.missed, "missed", 2),
    ):
        for left, top, right, bottom in _corners(rows[:, :4], scale, canvas):
            cv2.rectangle(canvas, (left, top), (right, bottom), _bgr(COLOURS[name]), thickness)
    return canvas


def jpeg_data_uri(image_bgr: np.ndarray) -> str:
    """Return an image as a ``data:`` address for the page."""
    _, content = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode('ascii')}"


def _corners(
    boxes_ltwh: np.ndarray, scale: float, canvas: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Return the boxes' corner pixels inside the canvas."""
    boxes = np.asarray(boxes_ltwh, dtype=np.float64).reshape(-1, 4) * scale
    edges = np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    limits = [canvas.shape[1] - 1, canvas.shape[0] - 1] * 2
    return [(a, b, c, d) for a, b, c, d in np.clip(edges.round(), 0, limits).astype(int).tolist()]


def _bgr(colour: str) -> tuple[int, int, int]:
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)
