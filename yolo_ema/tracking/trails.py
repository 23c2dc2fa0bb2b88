"""Trails: where each object was in the last seconds."""

from __future__ import annotations

from collections import deque

import numpy as np

from yolo_ema.tracking.clipping import homogeneous, oriented


class Trails:
    """The trails of tracked objects, for drawing. Memory holds only what is younger than
    ``seconds``.

    Examples:
        >>> trails = Trails(seconds=2)
        >>> by_id = trails.update(0.04, boxes_xyxy, track_ids)
    """

    def __init__(self, seconds: float = 2.0) -> None:
        """Start empty; points older than ``seconds`` are forgotten."""
        self.seconds = seconds
        self._points: dict[int, deque[tuple[float, np.ndarray]]] = {}

    def update(
        self,
        time_s: float,
        boxes_xyxy: np.ndarray,
        track_ids: np.ndarray,
        homography: np.ndarray | None = None,
    ) -> dict[int, np.ndarray]:
        """Add a frame's objects.

        Args:
            time_s: time of the frame, seconds.
            boxes_xyxy: (N, 4) pixels.
            track_ids: (N,), −1 where there is no identity.
            homography: (3, 3) from the last frame's pixels to this one's, if the camera's motion is
                known: older points then stay on the ground instead of in the image.

        Returns:
            For each identity of the last seconds its box centres, (M, 2) pixels, the newest last.
        """
        if homography is not None and not np.array_equal(homography, np.eye(3)):
            self._follow(homography)
        boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        for track_id, centre in zip(np.asarray(track_ids).tolist(), centres, strict=True):
            if track_id >= 0:
                self._points.setdefault(track_id, deque()).append((time_s, centre))
        for track_id, trail in list(self._points.items()):
            while trail and not time_s - self.seconds <= trail[0][0] <= time_s:
                trail.popleft()
            if not trail:
                del self._points[track_id]
        return {
            track_id: np.stack([point for _, point in trail])
            for track_id, trail in self._points.items()
        }

    def _follow(self, homography: np.ndarray) -> None:
        """Move the trails with the ground; what goes behind the camera ends them."""
        homography = oriented(homography)
        for track_id, trail in self._points.items():
            moved = homogeneous(np.stack([point for _, point in trail])) @ homography.T
            behind = np.flatnonzero(moved[:, 2] <= 0)
            first = behind[-1] + 1 if len(behind) else 0
            points = moved[first:, :2] / moved[first:, 2:]
            times = [time_s for time_s, _ in trail][first:]
            self._points[track_id] = deque(zip(times, points, strict=True))
