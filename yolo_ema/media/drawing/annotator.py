"""Draws detections so that an image with 300 small objects stays readable.

Lines get thinner with their object, labels appear only where they hide no object, and a legend
counts the classes. All boxes of a class are drawn by one call of OpenCV, and labels are copied from
a cache: this runs on every frame of a video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from yolo_ema.media.drawing.box_labels import draw_labels
from yolo_ema.media.drawing.legend import draw_legend
from yolo_ema.media.drawing.style import class_colour_bgr, copy_inside, render_label
from yolo_ema.media.frames import FrameDetections
from yolo_ema.tracking.clipping import clip_polygon, clip_segment, homogeneous, window_around

_WHITE, _BLACK, _EDGE = (255, 255, 255), (0, 0, 0), (30, 30, 30)
_SMALL_PX = 28
"""Boxes with a shorter side below this have lines one pixel wide; each multiple of it adds one."""
_TRAIL_POINTS = 16
_FARTHEST_PX = 1e8
"""Trails may reach far outside the image; int32 ends at 2e9."""
_SMOOTH_TRAILS = 60
"""With more trails, smoothing their lines would take most of the time."""


class Overlay(NamedTuple):
    """A line or zone over the image.

    Attributes:
        kind: ``line`` or ``zone``.
        points_xy: (M, 2) pixels: two ends, or a polygon's corners; none if it is out of view.
        label: its name and counts.
    """

    kind: str
    points_xy: np.ndarray
    label: str


def draw_detections(
    found: FrameDetections,
    *,
    trails: Mapping[int, np.ndarray] | None = None,
    overlays: Sequence[Overlay | tuple[str, np.ndarray, str]] = (),
) -> np.ndarray:
    """Return a copy of the frame with boxes, labels where there is room, and a legend of counts:
    (H, W, 3) uint8 BGR.

    Args:
        found: the detections; labels show their identities, if any.
        trails: for each identity where its object has been, oldest first, (M, 2) pixels.
        overlays: lines and zones, drawn below the boxes; their names are drawn above.
    """
    canvas = np.ascontiguousarray(found.frame.image_bgr).copy()
    scale = min(3.0, max(1.0, max(canvas.shape[:2]) / 1920))
    for overlay in overlays:
        _draw_overlay(canvas, Overlay(*overlay), scale)
    if trails:
        _draw_trails(canvas, found, trails, scale)
    if len(found):
        _draw_boxes(canvas, found, scale)
        draw_labels(canvas, found, scale)
    legend_xyxy = draw_legend(canvas, found, scale)
    for overlay in overlays:
        _draw_name(canvas, Overlay(*overlay), scale, legend_xyxy)
    return canvas


def _draw_boxes(canvas: np.ndarray, detections: FrameDetections, scale: float) -> None:
    limit = 2 * max(canvas.shape)
    boxes = np.nan_to_num(detections.boxes_xyxy).clip(-limit, limit).round().astype(np.int32)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    widths = (sides // _SMALL_PX + 1).clip(1, round(2 * scale))
    # Around a small object the line keeps a pixel's distance, so that it hides nothing of it.
    boxes += np.where(sides < _SMALL_PX, 1, 0)[:, None] * np.array([-1, -1, 1, 1], np.int32)
    for width in np.unique(widths)[::-1].tolist():  # small objects on top
        of_width = widths == width
        # A dark outer edge keeps light colours visible on light ground.
        edge = np.array([-1, -1, 1, 1], np.int32) * (width // 2 + 1)
        _outline(canvas, boxes[of_width] + edge, 1, _EDGE)
        for class_id in np.unique(detections.class_ids[of_width]).tolist():
            _outline(
                canvas,
                boxes[of_width & (detections.class_ids == class_id)],
                width,
                class_colour_bgr(class_id),
            )


def _outline(
    canvas: np.ndarray, boxes: np.ndarray, width: int, colour_bgr: tuple[int, int, int]
) -> None:
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    cv2.polylines(canvas, list(corners), True, colour_bgr, width, cv2.LINE_8)


def _draw_trails(
    canvas: np.ndarray, detections: FrameDetections, trails: Mapping[int, np.ndarray], scale: float
) -> None:
    if detections.track_ids is None:
        return
    classes = dict(zip(detections.track_ids.tolist(), detections.class_ids.tolist(), strict=True))
    boxes = dict(zip(detections.track_ids.tolist(), detections.boxes_xyxy, strict=True))
    by_class: dict[int, list[np.ndarray]] = {}
    for track_id, points in trails.items():
        if track_id in classes and len(points) > 1 and _leaves(boxes[track_id], points):
            step = -(-len(points) // _TRAIL_POINTS)
            sampled = np.asarray(points)[(len(points) - 1) % step :: step]  # always with the last
            pixels = sampled.clip(-_FARTHEST_PX, _FARTHEST_PX).round().astype(np.int32)
            by_class.setdefault(classes[track_id], []).append(pixels)
    smooth = cv2.LINE_AA if len(trails) <= _SMOOTH_TRAILS else cv2.LINE_8
    for class_id, lines in by_class.items():
        colour = class_colour_bgr(class_id)
        faint = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
        older, recent = (
            [line[: (len(line) + 1) // 2] for line in lines],
            [line[(len(line) - 1) // 2 :] for line in lines],
        )
        cv2.polylines(canvas, older, False, faint, max(1, round(scale)), smooth)
        cv2.polylines(canvas, recent, False, colour, max(1, round(scale)), smooth)


def _leaves(box_xyxy: np.ndarray, points: np.ndarray) -> bool:
    """Return whether a trail leaves its object's box; that of a standing object is mere jitter."""
    return bool((points < box_xyxy[:2]).any() or (points > box_xyxy[2:]).any())


def _draw_overlay(canvas: np.ndarray, overlay: Overlay, scale: float) -> None:
    # OpenCV fills row by row from a corner far above the image, and wraps beyond int32.
    points = _within(overlay, window_around(canvas.shape[1::-1])).round().astype(np.int32)
    if not len(points):
        return
    is_zone = overlay.kind == "zone"
    if is_zone:
        _tint(canvas, points)
    cv2.polylines(canvas, [points], is_zone, _BLACK, round(4 * scale), cv2.LINE_AA)
    cv2.polylines(canvas, [points], is_zone, _WHITE, round(2 * scale), cv2.LINE_AA)
    if not is_zone:
        for x, y in points.tolist():
            cv2.circle(canvas, (x, y), round(5 * scale), _BLACK, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(canvas, (x, y), round(4 * scale), _WHITE, cv2.FILLED, cv2.LINE_AA)


def _within(overlay: Overlay, window_xyxy: np.ndarray) -> np.ndarray:
    """Return the points of a line or zone, (M, 2) pixels, cut to a window x1, y1, x2, y2; none if
    it lies outside, or a point is not finite.
    """
    points = np.asarray(overlay.points_xy, float).reshape(-1, 2)
    if not len(points) or not np.isfinite(points).all():
        return np.zeros((0, 2))
    clip = clip_polygon if overlay.kind == "zone" else clip_segment
    return clip(homogeneous(points), window_xyxy)


def _draw_name(
    canvas: np.ndarray,
    overlay: Overlay,
    scale: float,
    legend_xyxy: tuple[int, int, int, int] | None,
) -> None:
    """Draw a line's or zone's name above the middle of what is seen of it, or beside the legend if
    that is in the way.
    """
    points = _within(overlay, np.array([0, 0, *canvas.shape[1::-1]]))
    if not len(points):
        return
    middle_x, middle_y = (
        points[:, 0].mean(),
        points[:, 1].min() if overlay.kind == "zone" else points[:, 1].mean(),
    )
    word = render_label(overlay.label, round(14 * scale), _WHITE)
    (height, width), gap = word.shape[:2], round(6 * scale)
    x, y = max(0, round(middle_x - width / 2)), max(0, round(middle_y - height) - gap)
    if legend_xyxy is not None and x < legend_xyxy[2] + gap and y < legend_xyxy[3] + gap:
        beside = legend_xyxy[2] + gap
        x, y = (beside, y) if beside + width <= canvas.shape[1] else (x, legend_xyxy[3] + gap)
    copy_inside(canvas, word, x, y)


def _tint(canvas: np.ndarray, polygon: np.ndarray) -> None:
    """Lighten the inside of a polygon a little."""
    height, width = canvas.shape[:2]
    (x1, y1), (x2, y2) = (
        polygon.min(axis=0).clip(0),
        np.minimum(polygon.max(axis=0) + 1, (width, height)),
    )
    if x1 >= x2 or y1 >= y2:
        return
    part = canvas[y1:y2, x1:x2]
    filled = cv2.fillPoly(part.copy(), [polygon - (x1, y1)], _WHITE)
    cv2.addWeighted(filled, 0.15, part, 0.85, 0, dst=part)
