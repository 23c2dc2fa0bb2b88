"""Where stills were taken: XMP as drones write it, and EXIF."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from yolo_ema.errors import ConfigError, TelemetryError
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.telemetry.dialects import XMP_FIELDS
from yolo_ema.geo.telemetry.reading import QUANTITIES, Reading, Sample, number, values_of
from yolo_ema.io.image_header import ImageHeaderError, ImageMetadata, image_metadata

_FOCAL_35MM, _ZOOM = 0xA405, 0xA404
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _ALTITUDE_REF, _ALTITUDE = range(1, 7)
_TIME, _DIRECTION_REF, _DIRECTION, _DATE = 7, 16, 17, 29
_DEWARP_NUMBERS = 9
_WIDEST_SENSOR = 1.6  # width by height


def read_xmp_of(paths: Sequence[Path]) -> Reading:
    """Read stills by their XMP, and what that lacks by EXIF.

    A still without any position is kept with the reason.
    """
    return _read(paths, "xmp", _by_xmp_and_exif)


def read_exif_of(paths: Sequence[Path]) -> Reading:
    """Read stills by their EXIF alone."""
    return _read(paths, "exif", _by_exif)


def _read(paths: Sequence[Path], source: str, read: Any) -> Reading:
    reading = Reading(source)
    problem: TelemetryError | None = None
    for path in paths:
        try:
            reading.stills[str(path)] = read(_metadata(path), reading)
        except TelemetryError as error:  # noqa: PERF203 - each image stands for itself
            problem = problem or TelemetryError(f"{path.name}: {error}", error.reason)
            reading.stills[str(path)] = error.reason
    count = sum(isinstance(still, Sample) for still in reading.stills.values())
    if not count:
        raise problem or TelemetryError("there are no images", "not_found")
    if problem is not None:
        reading.assumptions.append(
            f"{len(reading.stills) - count} of {len(reading.stills)} images have no position, the "
            f"first of them {problem}"
        )
    return reading


def _metadata(path: Path) -> ImageMetadata:
    try:
        return image_metadata(path)
    except ImageHeaderError as error:
        raise TelemetryError(f"the image {error}") from error


def _by_xmp_and_exif(metadata: ImageMetadata, reading: Reading) -> Sample:
    from yolo_ema.geo.telemetry.xmp import xmp_values

    record = xmp_values(metadata.xmp) if metadata.xmp else {}
    values = values_of(XMP_FIELDS, record)
    if "latitude_deg" not in values or "longitude_deg" not in values:
        for half in ("latitude_deg", "longitude_deg"):
            values.pop(half, None)
        values = {**_exif_place(metadata.gps), **values}
        _say(reading, "the place is EXIF's, which has no camera angles")
    values = {**_exif_view(metadata), **values}
    if any(key.startswith("camera:pitch") for key in record) and "pitch_deg" in values:
        _say(reading, "Camera:Pitch is 0 straight down, as Pix4D defines it")
    camera = _dewarp_camera(record)
    if camera is not None:
        _say(reading, "the lens is described by the drone's own calibration, DewarpData")
    return _sample(values, metadata, camera, "unknown" if record else "sea level")


def _by_exif(metadata: ImageMetadata, _reading: Reading) -> Sample:
    values = {**_exif_view(metadata), **_exif_place(metadata.gps)}
    return _sample(values, metadata, None, "sea level")


def _sample(
    values: Mapping[str, float],
    metadata: ImageMetadata,
    camera: CameraIntrinsics | None,
    datum: str,
) -> Sample:
    if "latitude_deg" not in values or "longitude_deg" not in values:
        raise TelemetryError("the image has no position", "no_position")
    if max(abs(values["latitude_deg"]), abs(values["longitude_deg"])) < 1e-5:
        raise TelemetryError("the image's position is 0, 0: the receiver had no fix", "no_fix")
    return Sample(0.0, values, datum, _gps_utc(metadata.gps), camera)


def _exif_place(gps: Mapping[int, Any]) -> dict[str, float]:
    """Return the place; the direction only where it is said to be from true north."""
    altitude = _plain(gps.get(_ALTITUDE))
    below = _plain(gps.get(_ALTITUDE_REF)) == 1 or gps.get(_ALTITUDE_REF) == b"\x01"
    direction = _plain(gps.get(_DIRECTION)) if _word(gps.get(_DIRECTION_REF)) == "T" else None
    place = {
        "latitude_deg": _degrees(gps.get(_LATITUDE), _word(gps.get(_LATITUDE_REF)), "S"),
        "longitude_deg": _degrees(gps.get(_LONGITUDE), _word(gps.get(_LONGITUDE_REF)), "W"),
        "altitude_m": -altitude if altitude is not None and below else altitude,
        "yaw_deg": direction,
    }
    return _in_range(place)


def _exif_view(metadata: ImageMetadata) -> dict[str, float]:
    width, height = metadata.stored_wh
    focal = _plain(metadata.exif.get(_FOCAL_35MM))
    if not focal:
        return {}
    zoom = _plain(metadata.exif.get(_ZOOM)) or 1.0
    view = {"focal_35mm": focal, "zoom": zoom}
    aspect = max(width, height) / min(width, height)
    if aspect <= _WIDEST_SENSOR:  # a wider image is cut out of the sensor
        view["sensor_aspect"] = aspect
    return _in_range(view)


def _in_range(place: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: value
        for name, value in place.items()
        if value is not None and QUANTITIES[name][0] <= value <= QUANTITIES[name][1]
    }


def _degrees(parts: Any, ref: str, negative: str) -> float | None:
    """Return degrees, minutes and seconds as degrees."""
    try:
        numbers = [_plain(part) for part in parts]
    except TypeError:
        return None
    if len(numbers) != 3 or any(part is None for part in numbers) or not ref:
        return None
    if any(not 0 <= (part or 0.0) <= 60 for part in numbers[1:]):
        return None
    value = sum((part or 0.0) / 60**power for power, part in enumerate(numbers))
    return -value if ref == negative else value


def _plain(value: Any) -> float | None:
    """Return a number or a fraction of EXIF, None where it is none or has no value."""
    try:
        plain = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return plain if math.isfinite(plain) else None


def _word(value: Any) -> str:
    text = value.decode("ascii", errors="replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ").upper()


def _gps_utc(gps: Mapping[int, Any]) -> datetime | None:
    """Return the receiver's own time, which is UTC."""
    try:
        year, month, day = map(int, _word(gps.get(_DATE)).split(":"))
        hours, minutes, seconds = (float(part) for part in gps.get(_TIME, ()))
        whole = datetime(
            year, month, day, int(hours), int(minutes), int(seconds), tzinfo=timezone.utc
        )
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return whole.replace(microsecond=int(seconds % 1 * 1e6))


def _dewarp_camera(record: Mapping[str, Sequence[str]]) -> CameraIntrinsics | None:
    """Return the camera that DJI's survey drones describe: the date of its calibration, then focal
    lengths, principal point from the middle, and k1, k2, p1, p2, k3. An image that the drone has
    straightened already has none of that distortion.
    """
    middle = [_first(record, f"drone-dji:calibratedopticalcenter{axis}") for axis in "xy"]
    focal = _first(record, "drone-dji:calibratedfocallength")
    if middle[0] is None or middle[1] is None or focal is None:
        return None
    width, height = round(2 * middle[0]), round(2 * middle[1])
    text = next(iter(record.get("drone-dji:dewarpdata", [])), "").partition(";")[2]
    numbers = [number(part) for part in text.split(",")] if text else []
    straightened = _first(record, "drone-dji:dewarpflag") == 1
    try:
        if len(numbers) != _DEWARP_NUMBERS or None in numbers or straightened:
            return CameraIntrinsics(width, height, focal, width / 2, height / 2)
        fx, fy, cx, cy, *brown = (part or 0.0 for part in numbers)
        k1, k2, p1, p2, k3 = brown
        return CameraIntrinsics(
            width, height, (fx + fy) / 2, width / 2 + cx, height / 2 + cy, (k1, k2, p1, p2, k3)
        )
    except (ConfigError, ValueError):
        return None


def _first(record: Mapping[str, Sequence[str]], key: str) -> float | None:
    return number(record[key][0]) if key in record else None


def _say(reading: Reading, sentence: str) -> None:
    if sentence not in reading.assumptions:
        reading.assumptions.append(sentence)
