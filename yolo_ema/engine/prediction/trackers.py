"""`Tracker`: identities for the detections of one source, on Ultralytics' trackers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ultralytics
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import YAML, IterableSimpleNamespace

from yolo_ema.engine.prediction.small_object_tracker import SmallObjectSettings, SmallObjectTracker
from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.media.frames import FrameDetections

__all__ = ["PRESETS", "SmallObjectSettings", "Tracker"]

PRESETS = ("drone", *sorted(TRACKER_MAP))
"""``drone``, and Ultralytics' trackers with their own settings."""


class Tracker:
    """Gives the detections of one source identities that last.

    Identities start at 1 and are never used twice. Where the picture changes its size, all objects
    are new ones: nothing says what became of the old picture's pixels. Objects are matched whatever
    their class, so that one which flickers between car and van keeps its identity. No detection is
    removed, moved or added: what a tracker has not confirmed yet has no identity.

    Example:
        >>> tracker = Tracker(frame_rate=25)
        >>> tracked = [tracker.update(found) for found in detections]
        >>> tracked[-1].track_ids
    """

    def __init__(
        self,
        *,
        preset: str = "drone",
        compensate_motion: bool = True,
        frame_rate: float = 30,
        settings: SmallObjectSettings | None = None,
    ) -> None:
        """Start without identities.

        Args:
            preset: one of `PRESETS`.
            compensate_motion: follow the camera's motion, seen in what lies between the objects.
            frame_rate: frames a second of the source.
            settings: others than the preset ``drone`` has.

        Raises:
            ConfigError: an unknown preset, a frame rate that is not positive, or settings for
                another preset.
        """
        if preset not in PRESETS:
            raise ConfigError(
                f"no tracker {preset!r}{did_you_mean(preset, PRESETS)}; expected one of "
                f"{', '.join(PRESETS)}"
            )
        if not 0 < frame_rate < float("inf"):
            raise ConfigError(f"frame_rate is {frame_rate}; expected frames a second, more than 0")
        if settings is not None and preset != "drone":
            raise ConfigError(f"settings belong to the preset 'drone', not to {preset!r}")
        self._preset, self._compensate_motion, self._frame_rate = (
            preset,
            compensate_motion,
            float(frame_rate),
        )
        self._settings = settings or SmallObjectSettings()
        self._image_wh: tuple[int, int] | None = None
        self._given = 0
        self._begin()

    def _begin(self) -> None:
        """Begin without tracks; identities count on from where they were."""
        self._tracker: Any = (
            SmallObjectTracker(
                self._settings,
                compensate_motion=self._compensate_motion,
                frame_rate=self._frame_rate,
            )
            if self._preset == "drone"
            else _as_shipped(self._preset, self._compensate_motion)
        )
        self._last_time_s: float | None = None
        self._numbers: dict[int, int] = {}

    @property
    def homography(self) -> np.ndarray:
        """(3, 3) from the last frame's pixels to this one's: how the ground moved; the identity
        where that is not followed.
        """
        return (
            self._tracker.homography if isinstance(self._tracker, SmallObjectTracker) else np.eye(3)
        )

    def update(self, found: FrameDetections) -> FrameDetections:
        """Take the next frame's detections, also where there are none; return them with
        ``track_ids``.

        Returns:
            The same detections in the same order; ``track_ids`` is −1 where there is no identity
            yet.
        """
        if self._image_wh not in {None, found.frame.image_wh}:
            self._begin()
        self._image_wh = found.frame.image_wh
        rows = (
            np.column_stack([found.boxes_xyxy, found.scores, found.class_ids])
            .astype(np.float32)
            .reshape(-1, 6)
        )
        detections = Boxes(rows, found.frame.image_bgr.shape[:2])
        if isinstance(self._tracker, SmallObjectTracker):
            elapsed = 0.0 if self._last_time_s is None else found.frame.time_s - self._last_time_s
            self._tracker.advance(detections, found.frame.image_bgr, elapsed)
        else:
            self._tracker.update(detections, found.frame.image_bgr)
        self._last_time_s = found.frame.time_s
        return replace(found, track_ids=self._track_ids(len(found)))

    def _track_ids(self, count: int) -> np.ndarray:
        """Return (N,) identities, numbered in the order in which tracks were confirmed."""
        track_ids = np.full(count, -1, np.int64)
        followed = self._tracker.tracked_stracks
        for track in followed:
            if track.is_activated and track.frame_id == self._tracker.frame_id:
                if track.track_id not in self._numbers:
                    self._given += 1
                    self._numbers[track.track_id] = self._given
                track_ids[int(track.idx)] = self._numbers[track.track_id]
        alive = {track.track_id for track in (*followed, *self._tracker.lost_stracks)}
        self._numbers = {inner: number for inner, number in self._numbers.items() if inner in alive}
        return track_ids


def _as_shipped(name: str, compensate_motion: bool) -> Any:
    """Return a tracker of Ultralytics with its own settings, motion compensation apart."""
    settings = YAML.load(Path(ultralytics.__file__).parent / "cfg" / "trackers" / f"{name}.yaml")
    if "gmc_method" in settings:
        settings["gmc_method"] = "sparseOptFlow" if compensate_motion else "none"
    return TRACKER_MAP[name](args=IterableSimpleNamespace(**settings))
