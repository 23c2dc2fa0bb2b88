"""What passes through detection: a frame, and the objects found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["Frame", "FrameDetections", "exact_rate"]

_FINEST_RATE = 1001


def exact_rate(fps: float) -> Fraction:
    """Return a rate in frames per second as a fraction: 29.97 and the like are n/1001; below 1 the
    seconds of a frame are a fraction.
    """
    if fps >= 1:
        return Fraction(fps).limit_denominator(_FINEST_RATE)
    return 1 / Fraction(1 / fps).limit_denominator(_FINEST_RATE)


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        image_bgr: (H, W, 3) uint8, upright.
        source: the path or address as the user gave it.
        index: 0-based number of the frame in its source; 0 for an image.
        time_s: seconds since the source's start; 0.0 for an image.
        received_s: when a live source's frame arrived, on `time.monotonic`'s clock; None for what
            is recorded.

    Examples:
        >>> import cv2
        >>> from yolo_ema import Frame
        >>> Frame(cv2.imread("junction.jpg"), source="junction.jpg", index=0, time_s=0.0).image_wh
        (640, 360)
    """

    image_bgr: np.ndarray
    source: str
    index: int
    time_s: float
    received_s: float | None = None

    @property
    def image_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image_bgr.shape[1], self.image_bgr.shape[0]


@dataclass(frozen=True)
class FrameDetections:
    """The objects found in a frame, by falling score.

    Attributes:
        boxes_xyxy: (N, 4) float, pixels of the frame.
        scores: (N,) float in 0…1.
        class_ids: (N,) int.
        track_ids: (N,) int, −1 for objects without an identity; None if nothing is tracked.
        places: (N, 3) float, longitude and latitude in degrees on WGS 84, and the longer half axis
            of the 95 % error ellipse in metres; NaN for objects without a place; None if nobody
            asked for places while frames arrive.

    Examples:
        >>> from yolo_ema import Detector
        >>> detections = Detector("best.onnx").detections("junction.jpg")
        >>> detections.boxes_xyxy.shape == (len(detections), 4)
        True
    """

    frame: Frame
    boxes_xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    names: dict[int, str]
    track_ids: np.ndarray | None = field(default=None)
    places: np.ndarray | None = field(default=None)

    def __len__(self) -> int:
        return len(self.scores)

    def as_json(self) -> dict[str, Any]:
        """Return one line of ``detections.jsonl``: coordinates to a hundredth of a pixel, scores to
        five digits; places to seven, about a centimetre, where they are known.
        """
        width, height = self.frame.image_wh
        return {
            "source": self.frame.source,
            "frame": self.frame.index,
            "time_s": round(self.frame.time_s, 6),
            "width": width,
            "height": height,
            "detections": [self.object_as_json(row) for row in range(len(self))],
        }

    def object_as_json(self, row: int) -> dict[str, Any]:
        """Return one of the ``detections`` of `as_json`."""
        class_id = int(self.class_ids[row])
        detection = {
            "class_id": class_id,
            "class": self.names[class_id],
            "score": round(float(self.scores[row]), 5),
            "box_xyxy": [round(float(edge), 2) for edge in self.boxes_xyxy[row]],
        }
        if self.track_ids is not None:
            track_id = int(self.track_ids[row])
            detection["track_id"] = track_id if track_id >= 0 else None
        if self.places is not None and np.isfinite(self.places[row]).all():
            longitude, latitude, error_m = map(float, self.places[row])
            detection |= {
                "longitude": round(longitude, 7),
                "latitude": round(latitude, 7),
                "position_error_m": round(error_m, 2),
            }
        return detection
