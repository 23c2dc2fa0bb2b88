"""Poses of stills as OpenDroneMap and OpenSfM reconstruct them, or as they are given to them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import ConfigError, TelemetryError
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.rotations import rotation_of, yaw_pitch_roll_of
from yolo_ema.geo.telemetry.json_files import finite
from yolo_ema.geo.telemetry.reading import Reading, Sample
from yolo_ema.io.text_files import decode_text

Array = NDArray[np.float64]

_A = 6378137.0
_E2 = 0.00669437999014
_BROWN = {"brown", "perspective", "simple_radial", "radial"}
_LLA_RPY = ["filename", "latitude", "longitude", "altitude", "roll", "pitch", "yaw"]


def is_reconstruction(content: Any) -> bool:
    """Say whether the content of a JSON file is OpenSfM's reconstruction."""
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and "shots" in part and "cameras" in part for part in parts)


def read_reconstruction(content: Any) -> Reading:
    """Read OpenSfM's ``reconstruction.json``: cameras, and shots whose rotation (axis times angle)
    and translation lead from the world, metres east, north and up of its reference, to the camera.

    Raises:
        TelemetryError: a part of it is not as OpenSfM writes it.
    """
    reading = Reading("odm")
    for part in content:
        if not isinstance(part, dict) or not part.get("shots"):
            continue
        reference = part.get("reference_lla")
        if not isinstance(reference, dict):
            raise TelemetryError(
                "the reconstruction has no reference_lla: it is not placed on the earth",
                "no_position",
            )
        origin = tuple(
            finite(reference.get(key), f"reference_lla.{key}")
            for key in ("latitude", "longitude", "altitude")
        )
        shots, described = _named(part, "shots"), _named(part, "cameras")
        cameras = {name: _camera(name, camera) for name, camera in described.items()}
        to_true = _from_grid(shots, origin)
        if to_true is not None:
            reading.assumptions.append(
                "the reconstruction's axes are those of its UTM zone, as its shots' GPS positions "
                "show, and are turned to true north"
            )
        for name, shot in shots.items():
            reading.tell(name, _shot(name, shot, cameras, origin, to_true))
    if not reading.stills:
        raise TelemetryError("the reconstruction has no shots", "no_position")
    reading.assumptions.append(
        "altitudes are in the reconstruction's own datum, that of the positions it was made with"
    )
    return reading


def _named(part: Mapping[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(part.get(key), dict):
        raise TelemetryError(f"{key} of the reconstruction are not an object of names and values")
    return part[key]


def _from_grid(shots: Mapping[str, Any], origin: Sequence[float]) -> Array | None:
    """Return the turn (3, 3) from grid to true north where the axes are those of the UTM zone, as
    OpenDroneMap leaves them, and not east and north of the reference: the shots' positions by GPS,
    which are, fit better after it.
    """
    latitude, away = math.radians(origin[0]), math.radians((origin[1] + 180) % 6 - 3)
    turn = math.atan(math.tan(away) * math.sin(latitude))
    cos, sin = math.cos(turn), math.sin(turn)
    to_true = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    off: list[tuple[float, float]] = []
    for name, shot in shots.items():
        if not isinstance(shot, dict) or shot.get("gps_position") is None:
            continue
        rotation = _rotation(_three(shot.get("rotation"), f"rotation of shot {name}"))
        centre = -rotation.T @ _three(shot.get("translation"), f"translation of shot {name}")
        gps = np.array(_three(shot["gps_position"], f"gps_position of shot {name}"))
        off.append(
            (float(np.hypot(*(centre - gps)[:2])), float(np.hypot(*(to_true @ centre - gps)[:2])))
        )
    if not off:
        return None
    as_it_is, turned = np.median(off, axis=0)
    return to_true if turned < 0.5 * as_it_is else None


def _shot(
    name: str,
    shot: Any,
    cameras: Mapping[str, CameraIntrinsics],
    origin: tuple[float, ...],
    to_true: Array | None,
) -> Sample:
    if not isinstance(shot, dict):
        raise TelemetryError(f"shot {name} is not an object of keys and values")
    rotation = _rotation(_three(shot.get("rotation"), f"rotation of shot {name}"))
    translation = np.array(_three(shot.get("translation"), f"translation of shot {name}"))
    if to_true is not None:
        rotation = rotation @ to_true.T
    latitude, longitude, altitude = _to_degrees(-rotation.T @ translation, origin)
    right, down, forward = rotation @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])
    yaw, pitch, roll = yaw_pitch_roll_of(np.column_stack([forward, right, down]))
    camera = cameras.get(str(shot.get("camera")))
    if camera is None:
        raise TelemetryError(f"shot {name} names a camera that the reconstruction does not have")
    values = {
        "latitude_deg": latitude,
        "longitude_deg": longitude,
        "altitude_m": altitude,
        "yaw_deg": yaw,
        "pitch_deg": pitch,
        "roll_deg": roll,
    }
    return Sample(0.0, values, "unknown", None, camera)


def _camera(name: str, camera: Any) -> CameraIntrinsics:
    """Return a camera whose lengths are in units of the image's longer side."""
    kind = camera.get("projection_type") if isinstance(camera, dict) else None
    if kind not in _BROWN:
        raise TelemetryError(
            f"the camera {name!r} is of kind {kind!r}; expected one of {', '.join(sorted(_BROWN))}"
        )

    def read(key: str, *, else_value: float | None = None) -> float:
        value = camera.get(key, else_value)
        return finite(value, f"{key} of the camera {name!r}")

    width, height = round(read("width")), round(read("height"))
    side = max(width, height)
    plain = read("focal", else_value=0.0)
    focal = (read("focal_x", else_value=plain) + read("focal_y", else_value=plain)) / 2
    k1, k2, p1, p2, k3 = (read(key, else_value=0.0) for key in ("k1", "k2", "p1", "p2", "k3"))
    cx, cy = (read(key, else_value=0.0) * side for key in ("c_x", "c_y"))
    try:
        return CameraIntrinsics(
            width, height, focal * side, width / 2 + cx, height / 2 + cy, (k1, k2, p1, p2, k3)
        )
    except ConfigError as error:
        raise TelemetryError(f"the camera {name!r} cannot be: {error}") from error


def _three(value: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise TelemetryError(f"the {name} is not three numbers")
    first, second, third = (finite(part, name) for part in value)
    return first, second, third


def _rotation(axis_angle: Sequence[float]) -> Array:
    """Return the matrix of an axis times its angle in radians (Rodrigues)."""
    angle = math.sqrt(sum(part * part for part in axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = (part / angle for part in axis_angle)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _to_degrees(enu: Array, origin: Sequence[float]) -> tuple[float, float, float]:
    """Return latitude, longitude and altitude of a point in metres east, north and up of another,
    through coordinates from the middle of the earth.
    """
    latitude, longitude = math.radians(origin[0]), math.radians(origin[1])
    sin_a, cos_a, sin_o, cos_o = (
        math.sin(latitude),
        math.cos(latitude),
        math.sin(longitude),
        math.cos(longitude),
    )
    axes = np.array(
        [
            [-sin_o, -sin_a * cos_o, cos_a * cos_o],
            [cos_o, -sin_a * sin_o, cos_a * sin_o],
            [0, cos_a, sin_a],
        ]
    )
    across = _A / math.sqrt(1 - _E2 * sin_a**2)
    height = origin[2]
    middle = np.array(
        [
            (across + height) * cos_a * cos_o,
            (across + height) * cos_a * sin_o,
            (across * (1 - _E2) + height) * sin_a,
        ]
    )
    x, y, z = middle + axes @ enu
    out = math.hypot(x, y)
    for _ in range(6):
        across = _A / math.sqrt(1 - _E2 * math.sin(latitude) ** 2)
        latitude = math.atan2(z + _E2 * across * math.sin(latitude), out)
    across = _A / math.sqrt(1 - _E2 * math.sin(latitude) ** 2)
    flat = abs(math.cos(latitude)) > 0.5
    height = (
        out / math.cos(latitude) - across if flat else z / math.sin(latitude) - across * (1 - _E2)
    )
    return math.degrees(latitude), math.degrees(math.atan2(y, x)), height


def is_lla_rpy(text: str) -> bool:
    """Say whether a text begins as ``odm_lla_rpy.csv`` does."""
    return text.split("\n", 1)[0].lower().split()[: len(_LLA_RPY)] == _LLA_RPY


def read_lla_rpy(path: Path) -> Reading:
    """Read ``odm_lla_rpy.csv``: words between spaces, angles as Pix4D has them, of which pitch 0 is
    straight down.

    Raises:
        TelemetryError: a line has too few words, or one that is not a number.
    """
    reading = Reading("lla_rpy", assumptions=["pitch is 0 straight down, as Pix4D defines it"])
    lines = decode_text(path.read_bytes()).splitlines()
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            name, *words = next(csv.reader([line.strip()], delimiter=" ", skipinitialspace=True))
        except csv.Error as error:
            raise TelemetryError(f"line {number}: {error}") from error
        if len(words) < len(_LLA_RPY) - 1:
            raise TelemetryError(f"line {number} has {len(words) + 1} words; expected 7 or more")
        latitude, longitude, altitude, roll, pitch, yaw = (
            finite(word, f"{column} in line {number}")
            for column, word in zip(_LLA_RPY[1:], words, strict=False)
        )
        body = rotation_of(yaw, pitch, roll)  # the camera looks along the body's down
        turned = yaw_pitch_roll_of(np.column_stack([body[:, 2], body[:, 1], -body[:, 0]]))
        values = {"latitude_deg": latitude, "longitude_deg": longitude, "altitude_m": altitude}
        values |= dict(zip(("yaw_deg", "pitch_deg", "roll_deg"), turned, strict=True))
        reading.tell(name, Sample(0.0, values))
    if not reading.stills:
        raise TelemetryError("it has no lines of poses", "no_position")
    return reading
