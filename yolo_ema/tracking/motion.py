"""Camera motion between two frames: a homography of the ground, from points outside the detected
objects.

Seen from a drone the ground is nearly a plane, and two images of a plane differ by a homography,
whatever the camera did between them. Corners of the last frame are followed by sparse optical flow
(Lucas and Kanade, 1981) on a reduced grey image, and the homography that most of them agree on is
kept (MAGSAC++, Barath et al., 2020).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LONGER_SIDE_PX = 640
"""Motion is estimated on an image reduced to this: more gains nothing for matching."""

_MOST_CORNERS = 200
_LEAST_AGREEING = 12
_LEAST_SHARE = 0.3
_TOLERANCE_PX = 1.0
_MARGIN = 0.15
"""Share by which boxes grow before they are masked: objects and shadows reach over them."""


def warp_points(points: Array, homography: Array) -> Array:
    """Return ``points`` (N, 2) as ``homography`` (3, 3) maps them."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    result: Array = mapped[:, :2] / mapped[:, 2:]
    return result


class CameraMotion:
    """Estimates the camera's motion from frame to frame.

    Examples:
        >>> motion = CameraMotion()
        >>> homography = motion.update(image_bgr, boxes_xyxy)  # the identity for the first frame
    """

    def __init__(self) -> None:
        """Start without a frame."""
        self._grey: np.ndarray | None = None
        self._corners: np.ndarray | None = None

    def update(self, image_bgr: np.ndarray, boxes_xyxy: np.ndarray) -> Array:
        """Take the next frame and return how the ground moved since the last one.

        Args:
            image_bgr: (H, W, 3) uint8.
            boxes_xyxy: (N, 4) detected objects, pixels: no points on them are used.

        Returns:
            (3, 3) homography from pixels of the last frame to pixels of this one; the identity for
            the first frame, for one of another size, and if too few points agree.
        """
        grey, scale_xy = _reduced(image_bgr)
        homography = np.eye(3)
        if self._grey is not None and self._corners is not None and self._grey.shape == grey.shape:
            homography = _between(self._grey, grey, self._corners)
        self._grey = grey
        self._corners = cv2.goodFeaturesToTrack(
            grey, _MOST_CORNERS, 0.01, 8, mask=_background(grey, boxes_xyxy, scale_xy)
        )
        # Reduced pixels to full ones: the centre of the first pixel is at 0.5, not 0.
        widen = np.array(
            [
                [1 / scale_xy[0], 0, 0.5 / scale_xy[0] - 0.5],
                [0, 1 / scale_xy[1], 0.5 / scale_xy[1] - 0.5],
                [0, 0, 1],
            ]
        )
        full = widen @ homography @ np.linalg.inv(widen)
        result: Array = full / full[2, 2]
        return result


def _reduced(image_bgr: np.ndarray) -> tuple[np.ndarray, Array]:
    height, width = image_bgr.shape[:2]
    factor = min(1.0, LONGER_SIDE_PX / max(height, width))
    if factor == 1:
        return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.ones(2)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Averaging would take six times as long and change nothing that matters: corners are strong.
    small = cv2.resize(image_bgr, size, interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.array(size) / (width, height)


def _background(grey: np.ndarray, boxes_xyxy: np.ndarray, scale_xy: Array) -> np.ndarray:
    """Return a mask (H, W) uint8, 0 over objects."""
    mask = np.full(grey.shape, 255, np.uint8)
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4) * np.tile(scale_xy, 2)
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2]) + 1
    corners = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin + 1], axis=1)
    for x1, y1, x2, y2 in np.clip(corners, 0, np.tile(grey.shape[::-1], 2)).astype(int).tolist():
        mask[y1:y2, x1:x2] = 0
    return mask


def _between(before: np.ndarray, after: np.ndarray, corners: np.ndarray) -> Array:
    """Return the homography from ``before`` to ``after``, or the identity if too few points agree
    on one.
    """
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, corners, None, winSize=(11, 11), maxLevel=4
    )
    kept = status.ravel() == 1
    if kept.sum() < _LEAST_AGREEING:
        return np.eye(3)
    start, end = corners[kept].reshape(-1, 2), moved[kept].reshape(-1, 2)
    homography, agreeing = cv2.findHomography(start, end, cv2.USAC_MAGSAC, _TOLERANCE_PX)
    if (
        homography is None
        or agreeing.sum() < max(_LEAST_AGREEING, _LEAST_SHARE * kept.sum())
        or not _plausible(homography)
    ):
        return np.eye(3)
    result: Array = homography
    return result


def _plausible(homography: Array) -> bool:
    """Say whether a camera in flight can cause this homography between two frames: no mirror image,
    no sudden zoom.
    """
    area = float(np.linalg.det(homography[:2, :2] / homography[2, 2]))
    return bool(np.isfinite(homography).all()) and 0.25 < area < 4
