"""`Tracker`: identities for the detections of one source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from yolo_ema.detect.predictors import torch_needed
from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.media.frames import FrameDetections
from yolo_ema.options.detector import TRACKERS
from yolo_ema.tracking.small_object_tracker import SmallObjectSettings, SmallObjectTracker

if TYPE_CHECKING:
    from yolo_ema.engine.prediction.trackers import UltralyticsTracker

__all__ = ["Tracker"]


class Tracker:
    """Gives the detections of one source identities that last.

    Identities start at 1 and are never used twice. When a source changes its image size, all
    objects are new ones: nothing says what became of the old image's pixels. Objects are matched
    whatever their class, so that one which flickers between car and van keeps its identity. No
    detection is removed, moved or added: what a tracker has not confirmed yet has no identity.

    Examples:
        >>> from yolo_ema import Detector, Tracker
        >>> detector, tracker = Detector("best.onnx"), Tracker(frame_rate=10)
        >>> for detections in detector.stream_detections("flight.mp4"):
        ...     tracked = tracker.update(detections)  # the same detections, with track_ids
        >>> len(tracked.track_ids) == len(tracked)
        True
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
            preset: ``drone``, or a tracker of Ultralytics with its own settings, such as
                ``bytetrack``; those need torch.
            compensate_motion: follow the camera's motion, seen in what lies between the objects.
            frame_rate: frames per second of the source.
            settings: others than the preset ``drone`` has.

        Raises:
            ConfigError: an unknown preset, a frame rate that is not positive, or settings for
                another preset.
            MissingPackageError: the preset needs torch, which is not installed.
        """
        if preset not in TRACKERS:
            raise ConfigError(
                f"no tracker {preset!r}{did_you_mean(preset, TRACKERS)}; expected one of "
                f"{', '.join(TRACKERS)}"
            )
        if not 0 < frame_rate < float("inf"):
            raise ConfigError(f"frame_rate is {frame_rate}; expected frames per second above 0")
        if settings is not None and preset != "drone":
            raise ConfigError(f"settings belong to the preset 'drone', not to {preset!r}")
        self._image_wh: tuple[int, int] | None = None
        self._tracker: SmallObjectTracker | UltralyticsTracker
        if preset == "drone":
            self._tracker = SmallObjectTracker(
                settings, compensate_motion=compensate_motion, frame_rate=float(frame_rate)
            )
        else:
            with torch_needed(f"the tracker {preset!r}", "or take --tracker drone"):
                from yolo_ema.engine.prediction.trackers import UltralyticsTracker

            self._tracker = UltralyticsTracker(preset, compensate_motion=compensate_motion)

    @property
    def homography(self) -> np.ndarray:
        """How the ground moved: (3, 3) from the last frame's pixels to this one's; the identity
        unless ``drone`` follows the camera.
        """
        return self._tracker.homography

    def update(self, detections: FrameDetections) -> FrameDetections:
        """Take the next frame's detections, also where there are none.

        Returns:
            The same detections in the same order with ``track_ids``, −1 where there is no identity
            yet.
        """
        frame = detections.frame
        if self._image_wh not in {None, frame.image_wh}:
            self._tracker.reset()
        self._image_wh = frame.image_wh
        track_ids = self._tracker.update(
            detections.boxes_xyxy,
            detections.scores,
            detections.class_ids,
            image_bgr=frame.image_bgr,
            time_s=frame.time_s,
        )
        return replace(detections, track_ids=track_ids)
