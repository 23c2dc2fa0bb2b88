"""Sightings: the boxes of a flight's frames with their places on the ground."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.camera_heights import FlightGround, flight_ground
from yolo_ema.geo.class_sizes import sizes_of
from yolo_ema.geo.ground import REASONS as GROUND_REASONS
from yolo_ema.geo.placing import Placed, place_boxes
from yolo_ema.geo.pose import REASONS as POSE_REASONS
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.geo.uncertainty import SIGMAS, PoseSigmas
from yolo_ema.geo.views import Views
from yolo_ema.options.mapping import PlacingOptions

Array = NDArray[np.float64]

UNPLACED: dict[str, str] = {
    **POSE_REASONS,
    **GROUND_REASONS,
    "no_height": "the telemetry has no height that counts from the ground",
    "no_yaw": "the telemetry has no direction of the camera, and --yaw is not given",
    "no_pitch": "the telemetry has no pitch of the camera, and --pitch is not given",
    "no_field_of_view": "the field of view is unknown: give --hfov or --camera",
}
"""Why a sighting has no place: codes, as they stand in results, and what they mean."""

_BORDER_PX = 2.0


@dataclass(frozen=True)
class FrameBoxes:
    """The boxes of one frame, and where its camera was.

    Attributes:
        source: the video or image.
        frame: its number in the source, from 0.
        time_s: seconds since the source's start.
        image_wh: width and height, pixels.
        boxes_xyxy: (N, 4) pixels.
        class_names: N.
        scores: (N,).
        track_ids: (N,), −1 for objects without an identity.
        pose: of the camera, or why there is none.
        picture: the image file, where the source is a folder of them.
    """

    source: str
    frame: int
    time_s: float
    image_wh: tuple[int, int]
    boxes_xyxy: Array
    class_names: tuple[str, ...]
    scores: Array
    track_ids: NDArray[np.int64]
    pose: Pose | NoPose
    picture: str = ""


@dataclass(frozen=True)
class Sightings:
    """Sightings of one source, a row for each box, in the order of its frames.

    Attributes:
        source: the video or image.
        frames, times_s: (n,) number of the frame, and seconds since the source's start.
        boxes_xyxy: (n, 4) pixels.
        class_names: n.
        scores, track_ids: (n,); −1 for no identity.
        at_border: (n,) whether the image's border cuts the box, so that its base is uncertain.
        places: where they stand.
        moments_s: (n,) seconds of UTC where it is known, or else since the source's start.
    """

    source: str
    frames: NDArray[np.int64]
    times_s: Array
    boxes_xyxy: Array
    class_names: tuple[str, ...]
    scores: Array
    track_ids: NDArray[np.int64]
    at_border: NDArray[np.bool_]
    places: Placed
    moments_s: Array

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def placed(self) -> NDArray[np.bool_]:
        """(n,) whether there is a place."""
        return self.places.reasons == ""

    def unplaced(self) -> dict[str, int]:
        """Return how many have no place, by the code of the reason, most frequent first."""
        reasons = self.places.reasons[~self.placed].tolist()
        return dict(Counter(reasons).most_common())


@dataclass(frozen=True)
class LocatedSource:
    """One source of a flight, located.

    Attributes:
        sightings: its boxes with their places.
        frames: its frames, those without boxes too, with their poses.
        ground: what it was placed on.
        sigmas: the deviations assumed for its poses.
        is_video: whether its frames follow each other in time.
        assumptions: what was assumed, a sentence each.
        start_s: when it starts, in seconds of UTC, where that is known.
    """

    sightings: Sightings
    frames: tuple[FrameBoxes, ...]
    ground: FlightGround
    sigmas: PoseSigmas
    is_video: bool
    assumptions: tuple[str, ...]
    start_s: float | None = None

    @property
    def name(self) -> str:
        """The video or image."""
        return self.sightings.source


def sigmas_for(kind: str, options: PlacingOptions, step_m: float = 0.0) -> PoseSigmas:
    """Return the deviations of a kind of telemetry that writes positions in steps of ``step_m``,
    those that the user states in their place.
    """
    stated = {
        "position_m": options.sigma_position,
        "height_m": options.sigma_height,
        "yaw_deg": options.sigma_yaw,
        "pitch_deg": options.sigma_pitch,
        "roll_deg": options.sigma_roll,
        "hfov_deg": options.sigma_hfov,
    }
    given = {name: value for name, value in stated.items() if value is not None}
    assumed = SIGMAS.get(kind, PoseSigmas())
    # Values rounded to steps are off by the step over the root of twelve.
    rounded = replace(assumed, position_m=math.hypot(assumed.position_m, step_m / math.sqrt(12)))
    return replace(rounded, **given)


def _sigmas_on(ground: FlightGround, poses: Sequence[Pose], options: PlacingOptions) -> PoseSigmas:
    kind, step_m = (poses[0].source, poses[0].position_step_m) if poses else ("", 0.0)
    sigmas = sigmas_for(kind, options, step_m)
    if options.sigma_height is not None:
        return sigmas
    return replace(sigmas, height_m=math.hypot(sigmas.height_m, ground.doubt_m))


def locate_source(
    frames: Sequence[FrameBoxes],
    options: PlacingOptions,
    *,
    is_video: bool = True,
    assumptions: Sequence[str] = (),
    ground: FlightGround | None = None,
) -> LocatedSource:
    """Place all boxes of one source.

    Args:
        frames: its frames in order, with their poses.
        options: the ground, deviations and limits.
        is_video: whether they follow each other in time.
        assumptions: what the poses assume.
        ground: opened already, instead of that of the options.

    Raises:
        DataError: the surface model cannot be used.
        ConfigError: the calibrated camera is for frames of another shape.
    """
    poses = [frame.pose for frame in frames if isinstance(frame.pose, Pose)]
    ground = ground or flight_ground(options, poses)
    sigmas = _sigmas_on(ground, poses, options)
    reasons, used = _usable(frames, ground)
    counts = np.array([len(frame.scores) for frame in frames], int)
    rows = np.repeat(np.arange(len(frames)), counts)
    class_names = tuple(name for frame in frames for name in frame.class_names)
    boxes = _joined([frame.boxes_xyxy for frame in frames], (0, 4))
    known = reasons[rows] == ""
    places = place_boxes(
        boxes[known],
        views_of([used[row] for row in rows[known]]),
        [used[row][2] for row in rows[known]],
        ground.ground,
        sigmas=sigmas,
        sizes=sizes_of(class_names)[known],
        base=options.base,
        box_sigma_px=options.sigma_box,
        max_error_m=options.max_error,
    )
    times, start_s = np.array([frame.time_s for frame in frames], float), _start_s(frames)
    sightings = Sightings(
        source=frames[0].source if frames else "",
        frames=np.array([frame.frame for frame in frames], np.int64)[rows],
        times_s=times[rows],
        boxes_xyxy=boxes,
        class_names=class_names,
        scores=_joined([frame.scores for frame in frames], (0,)),
        track_ids=_joined([frame.track_ids for frame in frames], (0,)).astype(np.int64),
        at_border=_at_border(boxes, np.array([frame.image_wh for frame in frames], float)[rows]),
        places=_spread(places, known, reasons[rows]),
        moments_s=times[rows] + (start_s or 0.0),
    )
    return LocatedSource(
        sightings,
        tuple(frames),
        ground,
        sigmas,
        is_video,
        (*assumptions, *ground.assumptions),
        start_s,
    )


def _joined(parts: Sequence[NDArray], shape: tuple[int, ...]) -> Array:
    arrays = [np.asarray(part, float).reshape(-1, *shape[1:]) for part in parts]
    return np.concatenate([np.zeros(shape), *arrays])


Usable = tuple[Pose, float, CameraIntrinsics]


def _usable(
    frames: Sequence[FrameBoxes], ground: FlightGround
) -> tuple[NDArray[np.str_], list[Usable]]:
    """Return the reason why each frame has no complete view, or "", and those that have one."""
    reasons = np.full(len(frames), "", dtype="<U24")
    used: list[Usable] = []
    for row, frame in enumerate(frames):
        view = view_of(frame, ground)
        if isinstance(view, str):
            reasons[row] = view
            used.append(_NO_VIEW)
        else:
            used.append(view)
    return reasons, used


_NO_VIEW: Usable = (Pose(0.0, 0.0, 0.0), 0.0, CameraIntrinsics(1, 1, 1.0, 0.5, 0.5))


def view_of(frame: FrameBoxes, ground: FlightGround) -> Usable | str:
    """Return a frame's pose, its camera's height and the camera, or the reason why not."""
    pose = frame.pose
    if isinstance(pose, NoPose):
        return pose.reason
    for name in ("yaw", "pitch"):
        if getattr(pose, f"{name}_deg") is None:
            return f"no_{name}"
    height = ground.height_of(pose)
    if height is None:
        return "no_height"
    if pose.camera is not None:
        return pose, height, pose.camera.scaled_to(*frame.image_wh)
    if pose.hfov_deg is None:
        return "no_field_of_view"
    width, height_px = frame.image_wh
    return pose, height, _camera(width, height_px, pose.hfov_deg, pose.hfov_of_long_side)


@functools.lru_cache(maxsize=4096)
def _camera(width: int, height: int, hfov_deg: float, of_long_side: bool) -> CameraIntrinsics:
    if not of_long_side or width >= height:
        return CameraIntrinsics.from_hfov(width, height, hfov_deg)
    focal_px = CameraIntrinsics.from_hfov(height, width, hfov_deg).focal_px
    return CameraIntrinsics(width, height, focal_px, width / 2, height / 2)


def views_of(used: Sequence[Usable]) -> Views:
    """Return the views of frames."""
    columns = [
        (
            pose.latitude_deg,
            pose.longitude_deg,
            height,
            pose.yaw_deg or 0.0,
            pose.pitch_deg or 0.0,
            pose.roll_deg or 0.0,
        )
        for pose, height, _ in used
    ]
    return Views(*np.array(columns, float).reshape(-1, 6).T)


def _spread(places: Placed, known: NDArray[np.bool_], reasons: NDArray[np.str_]) -> Placed:
    """Return places with rows, NaN, for what has no view."""
    if known.all():
        return places

    def spread(column: NDArray) -> NDArray:
        full = np.full((len(known), *column.shape[1:]), np.nan)
        full[known] = column
        return full

    columns = {
        name: spread(getattr(places, name))
        for name in places.__dataclass_fields__
        if name != "reasons"
    }
    all_reasons = reasons.copy()
    all_reasons[known] = places.reasons
    return Placed(**columns, reasons=all_reasons)


def _at_border(boxes: Array, image_wh: Array) -> NDArray[np.bool_]:
    low = boxes[:, :2] <= _BORDER_PX
    high = boxes[:, 2:] >= image_wh.reshape(-1, 2) - _BORDER_PX
    return np.asarray((low | high).any(axis=1))


def _start_s(frames: Sequence[FrameBoxes]) -> float | None:
    """Return when the source starts, in seconds of UTC, where it is known."""
    starts = [
        frame.pose.utc.timestamp() - frame.time_s
        for frame in frames
        if isinstance(frame.pose, Pose) and frame.pose.utc is not None
    ]
    return float(np.median(starts)) if starts else None
