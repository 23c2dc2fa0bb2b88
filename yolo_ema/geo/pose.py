"""Where the camera was: one pose, the poses of a clip in order of time, and why there is none."""

from __future__ import annotations

import bisect
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.geodesic import geodesic_forward, geodesic_inverse

__all__ = ["MAX_GAP_S", "REASONS", "LostSample", "NoPose", "Pose", "PoseTrack"]

MAX_GAP_S = 2.0
"""No pose is made between samples that lie further apart: one lost sample of a log that has one
sample a second is bridged, more is not.
"""

REASONS = {
    "not_found": "the file is not there, or holds no telemetry of this kind",
    "unreadable": "the file cannot be read as this kind of telemetry",
    "missing_package": "a package that reads this kind of telemetry is not installed",
    "no_position": "the telemetry tells no positions",
    "no_fix": "the receiver had no fix",
    "before_telemetry": "the telemetry begins later",
    "after_telemetry": "the telemetry ends earlier",
    "gap": "the samples around that moment lie too far apart",
    "turn": "the camera turns too far from one sample to the next to know which way",
    "jump": "the position jumps faster than an aircraft flies",
    "contradiction": "samples of one moment lie at different places",
    "disordered": "the telemetry's clock runs backwards",
    "too_short": "the telemetry is too short for the video",
    "other_clip": "the telemetry is of another clip",
    "no_common_clock": "nothing says at which moment of the telemetry the video begins",
    "unknown_image": "the telemetry does not name the image",
    "stale": "the newest telemetry of a live source is too old",
}
"""Why there is no pose: codes, as they stand in results, and what they mean."""

_CLOSE_S = 1e-6
_FARTHEST_TURN_DEG = 120.0
_ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


@dataclass(frozen=True)
class Pose:
    """Where the camera was and where it looked at one moment; None is what nobody told.

    Attributes:
        time_s: seconds since the first frame of the source; 0 for stills.
        latitude_deg, longitude_deg: on WGS 84.
        height_takeoff_m: above the point of take-off, not above the ground below.
        altitude_m: above what ``altitude_datum`` names.
        yaw_deg: of the optical axis, clockwise from true north.
        pitch_deg: of the optical axis, -90 straight down, 0 at the horizon.
        roll_deg: about the optical axis, positive where the camera's right side goes down.
        hfov_deg: horizontal field of view of the frame as recorded.
        utc: the moment, where the telemetry tells it.
        source: the reader that gave it, such as ``srt`` or ``mavlink``.
        altitude_datum: ``sea level``, ``ellipsoid`` or ``unknown``.
        ground_altitude_m: altitude of the ground in the middle of the view, in the same datum.
        camera: the calibrated camera, where the source has one.
        position_step_m: the telemetry writes positions in steps of this size.
        hfov_of_long_side: ``hfov_deg`` follows from the focal length, hence is that of the frame's
            longer side, which in an upright frame is its height.

    Examples:
        >>> from yolo_ema import Pose
        >>> pose = Pose(0.0, 47.1234, 8.7654, height_takeoff_m=60.0, yaw_deg=92.4, pitch_deg=-41.0)
        >>> pose.hfov_deg is None
        True
    """

    time_s: float
    latitude_deg: float
    longitude_deg: float
    height_takeoff_m: float | None = None
    altitude_m: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    roll_deg: float | None = None
    hfov_deg: float | None = None
    utc: datetime | None = None
    source: str = ""
    altitude_datum: str = "unknown"
    ground_altitude_m: float | None = None
    camera: CameraIntrinsics | None = None
    position_step_m: float = 0.0
    hfov_of_long_side: bool = False


@dataclass(frozen=True)
class NoPose:
    """Why there is no pose.

    Attributes:
        reason: a code of `REASONS`.
        detail: what was found, in words; by default what the code means.
        source: the reader that says so, where one does.
    """

    reason: str
    detail: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.source}: {self.words}" if self.source else self.words

    @property
    def words(self) -> str:
        """The detail, or else what the code means."""
        return self.detail or REASONS[self.reason]


@dataclass(frozen=True)
class LostSample:
    """A sample that was left out, and the code of `REASONS` for it."""

    time_s: float
    reason: str


@dataclass(frozen=True)
class PoseTrack:
    """The poses of one source.

    Attributes:
        poses: in strictly rising order of time; empty for stills.
        source: the reader that gave them.
        assumptions: what was assumed, left out or replaced, one sentence each.
        stills: pose or reason of each image, by path and by file name.
        lost: samples that were left out, in order of time.
        max_gap_s: no pose is made between samples that lie further apart.
        hold_s: how long before the first and after the last sample its pose is taken to hold, at
            most ``max_gap_s``; by default the usual time from sample to sample.

    Examples:
        >>> from yolo_ema import Pose, PoseTrack
        >>> track = PoseTrack(
        ...     (Pose(0.0, 47.0, 8.0, yaw_deg=170.0), Pose(1.0, 47.0, 8.0, yaw_deg=-170.0)), "csv"
        ... )
        >>> track.at(0.75).yaw_deg
        -175.0
        >>> track.at(9).reason
        'after_telemetry'
    """

    poses: tuple[Pose, ...]
    source: str
    assumptions: tuple[str, ...] = ()
    stills: Mapping[str, Pose | NoPose] = field(default_factory=dict)
    lost: tuple[LostSample, ...] = ()
    max_gap_s: float = MAX_GAP_S
    hold_s: float | None = None

    @property
    def camera(self) -> CameraIntrinsics | None:
        """The calibrated camera, where the source has one and the same for all its poses."""
        poses = [*self.poses, *(still for still in self.stills.values() if isinstance(still, Pose))]
        cameras = {pose.camera for pose in poses}
        return cameras.pop() if len(cameras) == 1 else None

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of height, yaw, pitch and hfov no pose has: the user must give them."""
        poses = [*self.poses, *(still for still in self.stills.values() if isinstance(still, Pose))]
        names = {
            "height": ("height_takeoff_m", "altitude_m"),
            "yaw": ("yaw_deg",),
            "pitch": ("pitch_deg",),
            "hfov": ("hfov_deg", "camera"),
        }
        return tuple(
            word
            for word, fields in names.items()
            if all(getattr(pose, name) is None for pose in poses for name in fields)
        )

    def still(self, path: str | Path) -> Pose | NoPose:
        """Return the pose of an image, found by its path, its file name, or its name without
        suffix, as OpenSfM writes it.
        """
        path = Path(path)
        keys = (str(path), path.name, path.stem)
        pose = next((self.stills[key] for key in keys if key in self.stills), None)
        detail = f"the telemetry does not name {path.name}"
        return pose or NoPose("unknown_image", detail, self.source)

    def at(self, time_s: float) -> Pose | NoPose:
        """Return the pose at a moment of the source, in seconds since its first frame.

        Between samples the position is interpolated along the geodesic, angles on their shortest
        arc, everything else linearly. What one of the two samples lacks the pose lacks.
        """
        return self.at_each([time_s])[0]

    def at_each(self, times_s: Iterable[float]) -> list[Pose | NoPose]:
        """Return the poses at several moments, see `at`."""
        answers = [self._around(time_s) for time_s in times_s]
        between = iter(_between([answer for answer in answers if isinstance(answer, tuple)]))
        return [next(between) if isinstance(answer, tuple) else answer for answer in answers]

    def _around(self, time_s: float) -> Pose | NoPose | tuple[Pose, Pose, float]:
        """Return the pose at a moment, or the two that it lies between, and the moment."""
        after = bisect.bisect_left(self._times_s, time_s - _CLOSE_S)
        if after < len(self.poses) and abs(self._times_s[after] - time_s) <= _CLOSE_S:
            return self.poses[after]
        if not 0 < after < len(self.poses):
            return self._outside(time_s)
        before, behind = self.poses[after - 1], self.poses[after]
        if behind.time_s - before.time_s > self.max_gap_s + _CLOSE_S:
            return self._gap(before, behind)
        if _turned_too_far(before, behind):
            detail = (
                f"the camera turned by more than {_FARTHEST_TURN_DEG:g} degrees from "
                f"{before.time_s:.3f} to {behind.time_s:.3f} s"
            )
            return NoPose("turn", detail, self.source)
        return before, behind, time_s

    @functools.cached_property
    def _times_s(self) -> list[float]:
        return [pose.time_s for pose in self.poses]

    @functools.cached_property
    def _held_s(self) -> float:
        """How long the first and the last pose are taken to hold."""
        hold_s = self.hold_s
        if hold_s is None:
            steps = [b - a for a, b in zip(self._times_s, self._times_s[1:], strict=False)]
            hold_s = statistics.median(steps) if steps else 0.0
        return min(hold_s, self.max_gap_s)

    def _gap(self, before: Pose, behind: Pose) -> NoPose:
        """Say why there is no pose between two samples that lie far apart."""
        reasons = [
            lost.reason for lost in self.lost if before.time_s <= lost.time_s <= behind.time_s
        ]
        reason = statistics.mode(reasons) if reasons else "gap"
        detail = (
            f"no sample from {before.time_s:.3f} to {behind.time_s:.3f} s of which one can be sure"
            f" ({REASONS[reason]}); expected one every {self.max_gap_s:g} s"
        )
        return NoPose(reason, detail, self.source)

    def _outside(self, time_s: float) -> Pose | NoPose:
        """Return the first or the last pose for as long as it holds, or the reason after that."""
        if not self.poses:
            return NoPose("no_position", source=self.source)
        early = time_s < self.poses[0].time_s
        nearest = self.poses[0 if early else -1]
        if abs(time_s - nearest.time_s) <= self._held_s + _CLOSE_S:
            moved = timedelta(seconds=time_s - nearest.time_s)
            return replace(nearest, time_s=time_s, utc=nearest.utc and nearest.utc + moved)
        reasons = {
            lost.reason
            for lost in self.lost
            if (lost.time_s < nearest.time_s if early else lost.time_s > nearest.time_s)
        }
        reason = reasons.pop() if len(reasons) == 1 else None
        word, code = ("begins", "before_telemetry") if early else ("ends", "after_telemetry")
        detail = f"the telemetry {word} at {nearest.time_s:.3f} s"
        return NoPose(reason or code, detail, self.source)


def _wrapped(angle_deg: float) -> float:
    return (angle_deg + 180) % 360 - 180


def _turned_too_far(before: Pose, behind: Pose) -> bool:
    pairs = ((getattr(before, name), getattr(behind, name)) for name in _ANGLES)
    return any(
        abs(_wrapped(second - first)) > _FARTHEST_TURN_DEG
        for first, second in pairs
        if first is not None and second is not None
    )


def _between(pairs: Sequence[tuple[Pose, Pose, float]]) -> list[Pose]:
    """Return the pose at a moment between each two."""
    if not pairs:
        return []
    shares = [(time_s - a.time_s) / (b.time_s - a.time_s) for a, b, time_s in pairs]
    ends = np.array(
        [(a.latitude_deg, a.longitude_deg, b.latitude_deg, b.longitude_deg) for a, b, _ in pairs]
    ).T
    latitudes, longitudes, *behind_deg = ends
    azimuths, distances = geodesic_inverse(latitudes, longitudes, *behind_deg)
    places = geodesic_forward(latitudes, longitudes, azimuths, distances * shares)
    rows = zip(pairs, shares, *(column.tolist() for column in places), strict=True)
    return [
        _mixed(before, behind, time_s, share, latitude, longitude)
        for (before, behind, time_s), share, latitude, longitude in rows
    ]


def _mixed(before: Pose, behind: Pose, time_s: float, share: float, *place_deg: float) -> Pose:
    """Return the pose of a place between two others, everything else by its share of the way."""

    def mixed(name: str) -> float | None:
        first, second = getattr(before, name), getattr(behind, name)
        if first is None or second is None:
            return None
        if name in _ANGLES:
            return float(_wrapped(first + share * _wrapped(second - first)))
        return float(first + share * (second - first))

    return replace(
        before if share < 0.5 else behind,
        time_s=time_s,
        latitude_deg=place_deg[0],
        longitude_deg=place_deg[1],
        utc=before.utc and before.utc + timedelta(seconds=time_s - before.time_s),
        height_takeoff_m=mixed("height_takeoff_m"),
        altitude_m=mixed("altitude_m"),
        ground_altitude_m=mixed("ground_altitude_m"),
        yaw_deg=mixed("yaw_deg"),
        pitch_deg=mixed("pitch_deg"),
        roll_deg=mixed("roll_deg"),
        hfov_deg=mixed("hfov_deg"),
    )
