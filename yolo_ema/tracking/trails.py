"""Where each object was in the last seconds."""

from __future__ import annotations

from collections import deque

import numpy as np

from yolo_ema.tracking.motion import warp_points

__all__ = ["Trails"]


class Trails:
    """The ways of tracked objects over the last seconds, for drawing. Memory holds what is younger
    than ``seconds``.

    Example:
        >>> trails = Trails(seconds=2)
        >>> ways = trails.update(found.frame.time_s, found.boxes_xyxy, found.track_ids)
    """

    def __init__(self, seconds: float = 2.0) -> None:
        """Start empty; points older than ``seconds`` are forgotten."""
        self.seconds = seconds
        self._ways: dict[int, deque[tuple[float, np.ndarray]]] = {}

    def update(
        self,
        time_s: float,
        boxes_xyxy: np.ndarray,
        track_ids: np.ndarray,
        homography: np.ndarray | None = None,
    ) -> dict[int, np.ndarray]:
        """Take a frame's objects.

        Args:
            time_s: when.
            boxes_xyxy: (N, 4) pixels.
            track_ids: (N,), −1 where there is no identity.
            homography: (3, 3) from the last frame's pixels to this one's, where the camera's motion
                is known: older points then stay on the ground instead of in the picture.

        Returns:
            For each identity of the last seconds its way, (M, 2) box centres in pixels, the newest
            last.
        """
        if homography is not None and not np.array_equal(homography, np.eye(3)):
            self._follow(homography)
        boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        for track_id, centre in zip(np.asarray(track_ids).tolist(), centres, strict=True):
            if track_id >= 0:
                self._ways.setdefault(track_id, deque()).append((time_s, centre))
        for track_id, way in list(self._ways.items()):
            while way and not time_s - self.seconds <= way[0][0] <= time_s:
                way.popleft()
            if not way:
                del self._ways[track_id]
        return {
            track_id: np.stack([point for _, point in way]) for track_id, way in self._ways.items()
        }

    def _follow(self, homography: np.ndarray) -> None:
        for track_id, way in self._ways.items():
            points = warp_points(np.stack([point for _, point in way]), homography)
            self._ways[track_id] = deque(zip((time_s for time_s, _ in way), points, strict=True))
