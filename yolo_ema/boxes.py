"""Areas and IoU of boxes x1, y1, x2, y2 in pixels; whatever leading axes numpy broadcasts.

``box_iou(a, b)`` takes two sets box by box, ``box_iou(a[:, None], b)`` every box of one with every
box of the other. Three places have arithmetic of their own, and must: the official protocol, whose
boxes are left, top, width, height and whose figures are the toolkit's to the last digit
(`metrics.greedy_matching`), NMS, whose float32 is torchvision's (`inference.suppression`), and the
sweep over the boxes of all tiles (`tiling.merge`).
"""

from __future__ import annotations

import numpy as np


def box_areas(boxes_xyxy: np.ndarray, *, margin_px: float | np.ndarray = 0.0) -> np.ndarray:
    """Return the areas (…) of boxes (…, 4) in square pixels; 0 where a side is negative.

    Args:
        boxes_xyxy: (…, 4) corners.
        margin_px: boxes are widened by this on each side, one number or (…).
    """
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    widened = sides + np.asarray(2 * margin_px, dtype=sides.dtype)[..., None]
    return np.maximum(widened, 0).prod(axis=-1)


def box_iou(
    first_xyxy: np.ndarray, second_xyxy: np.ndarray, *, margin_px: float | np.ndarray = 0.0
) -> np.ndarray:
    """Return intersection over union (…), 0 to 1; 0 where neither box has an area.

    Args:
        first_xyxy: (…, 4) corners.
        second_xyxy: (…, 4) corners, of a shape that broadcasts with the first.
        margin_px: both boxes of a pair are widened by this on each side, one number or (…).
    """
    low = np.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = np.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    shared = box_areas(np.concatenate((low, high), axis=-1), margin_px=margin_px)
    areas = [box_areas(boxes, margin_px=margin_px) for boxes in (first_xyxy, second_xyxy)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
