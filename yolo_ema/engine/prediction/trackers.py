"""The trackers that Ultralytics ships, with their own settings: arrays in, identities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ultralytics
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import YAML, IterableSimpleNamespace


class UltralyticsTracker:
    """One of Ultralytics' trackers, called as `yolo_ema.tracking.small_object_tracker` is.

    Identities are numbered in the order in which tracks are confirmed: Ultralytics also numbers
    those that never are.

    Attributes:
        homography: always the identity (3, 3): these trackers do not say how the camera moved.
    """

    def __init__(self, name: str, *, compensate_motion: bool = True) -> None:
        """Start without tracks of ``botsort``, ``bytetrack``, … as Ultralytics names them."""
        folder = Path(ultralytics.__file__).parent / "cfg" / "trackers"
        settings = YAML.load(folder / f"{name}.yaml")
        if "gmc_method" in settings:
            settings["gmc_method"] = "sparseOptFlow" if compensate_motion else "none"
        self._name, self._settings = name, IterableSimpleNamespace(**settings)
        self._identities_given = 0
        self.homography = np.eye(3)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; identities count on from where they were."""
        self._tracker: Any = TRACKER_MAP[self._name](args=self._settings)
        self._identities: dict[int, int] = {}  # by Ultralytics' own number

    def update(
        self,
        boxes_xyxy: np.ndarray,
        scores: np.ndarray,
        class_ids: np.ndarray,
        *,
        image_bgr: np.ndarray,
        time_s: float,
    ) -> np.ndarray:
        """Take the next frame's detections; see `SmallObjectTracker.update`. Each frame is a step,
        whatever its time.
        """
        rows = np.column_stack([boxes_xyxy, scores, class_ids]).astype(np.float32).reshape(-1, 6)
        self._tracker.update(Boxes(rows, image_bgr.shape[:2]), image_bgr)
        track_ids = np.full(len(rows), -1, np.int64)
        tracked = self._tracker.tracked_stracks
        for track in tracked:
            if track.is_activated and track.frame_id == self._tracker.frame_id:
                if track.track_id not in self._identities:
                    self._identities_given += 1
                    self._identities[track.track_id] = self._identities_given
                track_ids[int(track.idx)] = self._identities[track.track_id]
        alive = {track.track_id for track in (*tracked, *self._tracker.lost_stracks)}
        self._identities = {old: new for old, new in self._identities.items() if old in alive}
        return track_ids
