"""Lines and zones on the ground, cut to what an image can show of them.

A homography maps what is behind the camera into the image, too, mirrored through infinity; only the
sign of the third coordinate tells it apart. So points stay homogeneous until they are cut. The four
borders of a window leave x, y and w with left·w ≤ x ≤ right·w, hence w ≥ 0: nothing behind the
camera remains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def homogeneous(points_xy: np.ndarray) -> Array:
    """Return points (…, 2) as x, y and 1, (…, 3)."""
    points = np.asarray(points_xy, float)
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)


def oriented(homography: np.ndarray) -> Array:
    """Return the homography (3, 3), or its negative: the one that gives what is in front of both
    cameras a positive third coordinate. Its determinant is positive as long as both are above the
    ground.
    """
    matrix = np.asarray(homography, float)
    return -matrix if np.linalg.det(matrix) < 0 else matrix


def window_around(image_wh: tuple[int, int], points_xy: np.ndarray | None = None) -> Array:
    """Return a window x1, y1, x2, y2 in pixels: the image and the points (N, 2), and beyond them
    half the longer side, so that no border of the window comes near to what lies in the image.
    """
    corners = np.array([(0, 0), image_wh], float)
    if points_xy is not None:
        corners = np.concatenate([corners, np.asarray(points_xy, float).reshape(-1, 2)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    beyond = (high - low).max() / 2
    return np.concatenate([low - beyond, high + beyond])


def clip_polygon(corners: Array, window_xyxy: np.ndarray) -> Array:
    """Return a polygon inside a window (Sutherland and Hodgman, 1974).

    Args:
        corners: (P, 3) homogeneous.
        window_xyxy: (4,) pixels.

    Returns:
        (Q, 2) pixels; no corner if nothing is inside. The parts of a concave polygon stay connected
        along the window's border.
    """
    for inward in _borders(window_xyxy):
        depths = corners @ inward
        if (depths >= 0).all():
            continue
        kept: list[Array] = []
        for corner, depth, after, depth_after in zip(
            corners, depths, np.roll(corners, -1, axis=0), np.roll(depths, -1), strict=True
        ):
            if depth >= 0:
                kept.append(corner)
            if (depth >= 0) != (depth_after >= 0):
                kept.append(_meeting(corner, depth, after, depth_after))
        corners = np.array(kept).reshape(-1, 3)
    return _pixels(corners, window_xyxy)


def clip_segment(ends: Array, window_xyxy: np.ndarray) -> Array:
    """Return the part of a segment inside a window, its first end still first.

    Args:
        ends: (2, 3) homogeneous.
        window_xyxy: (4,) pixels.

    Returns:
        (2, 2) pixels, or (0, 2) if nothing is inside.
    """
    for inward in _borders(window_xyxy):
        depths = ends @ inward
        if depths.max() < 0:
            return np.zeros((0, 2))
        if depths.min() < 0:
            ends = ends.copy()
            ends[depths.argmin()] = _meeting(ends[0], depths[0], ends[1], depths[1])
    return _pixels(ends, window_xyxy)


def _borders(window_xyxy: np.ndarray) -> Array:
    """Return (4, 3): a homogeneous point is inside where its product with each is not negative."""
    x1, y1, x2, y2 = np.asarray(window_xyxy, float).tolist()
    return np.array([(1, 0, -x1), (0, 1, -y1), (-1, 0, x2), (0, -1, y2)])


def _meeting(first: Array, depth: float, second: Array, other_depth: float) -> Array:
    """Return where the way between two points on opposite sides of a border meets it, (3,)."""
    share = abs(depth) / (abs(depth) + abs(other_depth))
    return first + (second - first) * share


def _pixels(points: Array, window_xyxy: np.ndarray) -> Array:
    in_front = points[points[:, 2] > 0]
    # Rounding leaves a cut corner a little outside.
    return np.clip(in_front[:, :2] / in_front[:, 2:], window_xyxy[:2], window_xyxy[2:])
