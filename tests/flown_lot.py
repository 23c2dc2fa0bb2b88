"""A flight over a parking lot that is only calculated: boxes as an exact camera sees them, the
identities of a tracker that never errs while it sees a thing, and telemetry with or without errors.

The camera is that of the drawn scenes, written independently of what is tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.pose import Pose
from yolo_ema.geo.sightings import FrameBoxes
from yolo_ema.scenes.camera import Camera

IMAGE_WH = (1920, 1080)
HOME = LocalFrame(47.1234, 8.7654)
SIZES_M = {"car": (4.5, 1.8, 1.3), "pedestrian": (0.5, 0.5, 1.7)}


@dataclass(frozen=True)
class Standing:
    """An object on the lot: middle, heading in radians from east, velocity in m/s."""

    class_name: str
    east_m: float
    north_m: float
    heading: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)
    size_m: tuple[float, float, float] | None = None  # length, width, height; None for SIZES_M

    def at(self, time_s: float) -> np.ndarray:
        return np.array(
            [self.east_m + self.velocity[0] * time_s, self.north_m + self.velocity[1] * time_s]
        )

    def corners(self, time_s: float) -> np.ndarray:
        block = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)])
        block = block * (self.size_m or SIZES_M[self.class_name])
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        turned = block[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([turned + self.at(time_s), block[:, 2]])


def parking_lot(rows: int = 3, bays: int = 12, gap: float = 0.15, seed: int = 0) -> list[Standing]:
    """Return cars side by side in bays of 2.6 by 5 metres, some bays empty."""
    rng = np.random.default_rng(seed)
    return [
        Standing("car", 2.6 * bay - 1.3 * bays, 11.0 * row, math.pi / 2 * (1 + 2 * (bay % 2)))
        for row in range(rows)
        for bay in range(bays)
        if rng.random() > gap
    ]


def camera_at(
    east_m: float, north_m: float, height_m: float, yaw_deg: float, pitch_deg: float
) -> Camera:
    """Return a camera at a place that looks in a direction clockwise from north."""
    distance = height_m / math.sin(math.radians(-pitch_deg))
    flat = distance * math.cos(math.radians(pitch_deg))
    bearing = math.radians(yaw_deg)
    target = (east_m + flat * math.sin(bearing), north_m + flat * math.cos(bearing))
    return Camera(
        target, distance, math.pi / 2 - bearing, math.radians(-pitch_deg), IMAGE_WH, focal=0.8
    )


def there_and_back(time_s: float) -> Camera:
    """Fly north over the lot, turn away, come back over it from the other side."""
    if time_s < 20:
        return camera_at(0, -70 + 4 * time_s, 50, 0, -50)
    if time_s < 30:
        return camera_at(0, 10 + 4 * (time_s - 20), 50, 0, -50)  # beyond the lot, looking on
    turned = min((time_s - 30) * 45, 180)
    if time_s < 34:
        return camera_at(0, 50, 50, turned, -50)
    return camera_at(0, 50 - 4 * (time_s - 34), 50, 180, -50)


def fly(
    things: Sequence[Standing],
    camera_of: Callable[[float], Camera],
    *,
    seconds: float,
    fps: float = 5.0,
    wrong: Callable[[Pose, float], Pose] = lambda pose, time_s: pose,
    box_noise_px: float = 0.0,
    tracked: bool = True,
    seed: int = 0,
    source: str = "flight.mp4",
    start_id: int = 1,
) -> list[FrameBoxes]:
    """Return the frames of a flight; ``wrong`` turns the true poses into what telemetry reports."""
    rng = np.random.default_rng(seed)
    identity: dict[int, int] = {}
    following = start_id
    frames = []
    for number in range(round(seconds * fps)):
        time_s = number / fps
        camera = camera_of(time_s)
        boxes, names, track_ids = [], [], []
        visible = set()
        for index, thing in enumerate(things):
            box = box_of(thing, camera, time_s)
            if box is None:
                continue
            visible.add(index)
            if index not in identity:
                identity[index], following = following, following + 1
            boxes.append(box + rng.normal(0, box_noise_px, 4))
            names.append(thing.class_name)
            track_ids.append(identity[index] if tracked else -1)
        identity = {index: number for index, number in identity.items() if index in visible}
        frames.append(
            FrameBoxes(
                source,
                number,
                time_s,
                IMAGE_WH,
                np.array(boxes).reshape(-1, 4),
                tuple(names),
                np.full(len(boxes), 0.9),
                np.array(track_ids, np.int64),
                wrong(pose_of(camera, time_s), time_s),
            )
        )
    return frames


def box_of(thing: Standing, camera: Camera, time_s: float) -> np.ndarray | None:
    """Return the box of what is wholly within the image."""
    corners = thing.corners(time_s)
    if camera.view(corners)[:, 2].min() < 1:
        return None
    pixels, _ = camera.project(corners)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    if low.min() < 3 or high[0] > IMAGE_WH[0] - 3 or high[1] > IMAGE_WH[1] - 3:
        return None
    return np.array([*low, *high])


def pose_of(camera: Camera, time_s: float) -> Pose:
    """Return the pose of an exact camera."""
    east, north, up = camera.position
    latitude, longitude = HOME.to_degrees(np.array([east, north]))
    return Pose(
        time_s,
        float(latitude),
        float(longitude),
        height_takeoff_m=float(up),
        yaw_deg=90 - math.degrees(camera.yaw),
        pitch_deg=-math.degrees(camera.pitch),
        roll_deg=0.0,
        hfov_deg=2 * math.degrees(math.atan(0.5 / camera.focal)),
        source="csv",
    )


def off_by(
    *,
    east_m: float = 0.0,
    north_m: float = 0.0,
    height_m: float = 0.0,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
) -> Callable[[Pose, float], Pose]:
    """Return telemetry with a constant error."""

    def wrong(pose: Pose, time_s: float) -> Pose:
        here = HOME.to_metres(pose.latitude_deg, pose.longitude_deg) + np.array([east_m, north_m])
        latitude, longitude = HOME.to_degrees(here)
        return replace(
            pose,
            latitude_deg=float(latitude),
            longitude_deg=float(longitude),
            height_takeoff_m=pose.height_takeoff_m + height_m,
            yaw_deg=pose.yaw_deg + yaw_deg,
            pitch_deg=pose.pitch_deg + pitch_deg,
            roll_deg=pose.roll_deg + roll_deg,
        )

    return wrong
