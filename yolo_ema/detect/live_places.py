"""Places of a live source's objects, frame by frame, by the telemetry that arrives beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_ema.detect.flight_poses import unusable
from yolo_ema.detect.frame_places import check_surface_model, place_frame
from yolo_ema.errors import DataError, DataNotFoundError, OutOfReachError
from yolo_ema.geo.camera_heights import FlightGround, ground_below
from yolo_ema.geo.geodesic import geodesic_inverse
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.geo.sightings import (
    UNPLACED,
    LocatedSource,
    Usable,
    view_of,
)
from yolo_ema.geo.telemetry.live import LiveTelemetry, is_live
from yolo_ema.geo.view_border import view_border
from yolo_ema.media.frames import FrameDetections
from yolo_ema.options.mapping import MapOptions

_REOPEN_M = 200.0
"""A surface model is reread around the drone when it has flown so far."""


@dataclass(frozen=True)
class LocatedFrame:
    """A frame whose boxes are on the ground, as far as they can be.

    Attributes:
        detections: with places.
        pose: of the camera when the frame arrived, or why nobody knows.
        located: its boxes with their places and ellipses, and the ground.
        frames_without_pose: frames of the source so far that had none, by the code of the reason.
        age_s: by how much the pose is older than the frame.
        max_age_s: an older pose would be none.
    """

    detections: FrameDetections
    pose: Pose | NoPose
    located: LocatedSource
    frames_without_pose: dict[str, int]
    age_s: float | None
    max_age_s: float

    def on_map(self) -> dict[str, Any]:
        """Return what the live page draws and lists, as JSON has it."""
        usable = view_of(self.located.frames[0], self.located.ground)
        sightings = self.located.sightings
        unplaced = [
            {"reason": reason, "words": UNPLACED[reason], "count": count}
            for reason, count in sightings.unplaced().items()
        ]
        return {
            "camera": None if isinstance(usable, str) else self._camera(usable),
            "no_camera": "" if not isinstance(usable, str) else self._why(usable),
            "max_age_s": self.max_age_s,
            "view": [] if isinstance(usable, str) else self._view(usable),
            "objects": [self._object(row) for row in np.flatnonzero(sightings.placed)],
            "unplaced": unplaced,
            "frames_without_pose": self.frames_without_pose,
        }

    def _why(self, reason: str) -> str:
        """Say why there is no view: in the pose's own words where there is no pose."""
        return self.pose.words if isinstance(self.pose, NoPose) else UNPLACED[reason]

    def _camera(self, usable: Usable) -> dict[str, Any]:
        pose, height_m, camera = usable
        return {
            "longitude": round(pose.longitude_deg, 7),
            "latitude": round(pose.latitude_deg, 7),
            "height_m": round(height_m, 2),
            "yaw_deg": round(pose.yaw_deg or 0.0, 2),
            "pitch_deg": round(pose.pitch_deg or 0.0, 2),
            "roll_deg": round(pose.roll_deg or 0.0, 2),
            "hfov_deg": round(camera.hfov_deg, 2),
            "age_s": round(self.age_s or 0.0, 2),
        }

    def _view(self, usable: Usable) -> list[list[float]]:
        return np.round(view_border(usable, self.located.ground.ground), 7).tolist()

    def _object(self, row: np.intp) -> dict[str, Any]:
        ellipses = self.located.sightings.places.ellipses
        return self.detections.object_as_json(int(row)) | {
            "error_minor_m": round(float(ellipses.semi_minor_m[row]), 2),
            "error_azimuth_deg": round(float(ellipses.azimuth_deg[row]), 1),
        }


class LivePlaces:
    """Puts the objects of live sources on the ground. All of them are views of one drone.

    Memory does not grow: of the telemetry the last seconds are kept, of frames nothing.
    """

    def __init__(self, telemetry: LiveTelemetry, options: MapOptions) -> None:
        """Take telemetry, which `close` closes.

        Raises:
            DataNotFoundError: the surface model is not there.
        """
        check_surface_model(options)
        self._telemetry, self._options = telemetry, options
        self._ground: FlightGround | NoPose | None = None
        self._first: Pose | None = None
        self._opened_at: Pose | None = None
        self._without_pose: dict[str, Counter[str]] = {}

    @classmethod
    def listening(cls, options: MapOptions) -> LivePlaces | None:
        """Listen where ``--telemetry`` says so; None where it has no address.

        Raises:
            ConfigError: the address cannot be opened.
            MissingPackageError: pymavlink is not installed.
            DataNotFoundError: the surface model is not there.
        """
        address = next((word for word in options.telemetry if is_live(word)), None)
        if address is None:
            return None
        telemetry = LiveTelemetry(address, options)
        try:
            return cls(telemetry, options)
        except DataNotFoundError:
            telemetry.close()
            raise

    def locate(self, found: FrameDetections) -> LocatedFrame:
        """Return a frame's objects with their places, by the pose at which the frame arrived.

        Raises:
            DataError: the surface model cannot be used anywhere.
        """
        pose = self._pose_of(found)
        below = self._ground_of(pose)
        ground = below if isinstance(below, FlightGround) else None
        counts = self._without_pose.setdefault(found.frame.source, Counter())
        if isinstance(below, NoPose):
            pose = below
            counts[pose.reason] += 1
        placed, located = place_frame(found, pose, self._options, ground)
        return LocatedFrame(
            placed,
            pose,
            located,
            dict(counts),
            self._age_s(found, pose),
            self._telemetry.max_age_s,
        )

    def close(self) -> None:
        """Stop listening."""
        self._telemetry.close()

    def _pose_of(self, detections: FrameDetections) -> Pose | NoPose:
        if detections.frame.received_s is None:
            return NoPose("no_common_clock", "it is a recording, which was not taken as it arrives")
        return self._telemetry.at(detections.frame.received_s)

    def _age_s(self, detections: FrameDetections, pose: Pose | NoPose) -> float | None:
        received_s = detections.frame.received_s
        if isinstance(pose, NoPose) or received_s is None:
            return None
        return self._telemetry.age_s(pose, received_s)

    def _ground_of(self, pose: Pose | NoPose) -> FlightGround | NoPose:
        """Return the ground, which a surface model's is around where the drone is now; where that
        cannot be had, the one before, or why there is none.
        """
        if isinstance(pose, NoPose):
            return pose
        self._first = self._first or pose
        if self._ground is None or self._has_gone_far(pose):
            # The first pose tells the point of take-off, and stays the first.
            ground = ground_below(self._options, [self._first, pose])
            self._opened_at = pose
            if isinstance(ground, DataError) and not isinstance(ground, OutOfReachError):
                raise ground
            if isinstance(ground, FlightGround):
                self._ground = ground
            elif not isinstance(self._ground, FlightGround):
                self._ground = unusable(ground)
        return self._ground

    def _has_gone_far(self, pose: Pose) -> bool:
        if self._options.dem is None or self._opened_at is None:
            return False
        before = self._opened_at
        away_m = geodesic_inverse(
            before.latitude_deg, before.longitude_deg, pose.latitude_deg, pose.longitude_deg
        )[1]
        climbed_m = (pose.height_takeoff_m or 0.0) - (before.height_takeoff_m or 0.0)
        return float(away_m) > _REOPEN_M or climbed_m > _REOPEN_M / 2
