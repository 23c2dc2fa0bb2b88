"""Which field of which drone's telemetry is what: a new drone is a row here.

Keys are in lower case. A key of subtitles that ends in ``()`` is a word with values in brackets, as
``GPS(8.7, 47.1, 18)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolo_ema.geo.telemetry.reading import Field, number

_TO_DEGREES = 180 / math.pi
_LATITUDES = ("latitude", "gpslatitude")
_LONGITUDES = ("longitude", "longtitude", "gpslongitude", "gpslongtitude")


def focal_length_mm(text: str) -> float | None:
    """Return a focal length in 35 mm equivalents: as written with decimals or below 100, tenths of
    millimetres from 100 to 999, hundredths from 1000 on.
    """
    value = number(text)
    if value is None or "." in text or value < 100:
        return value
    return value / (10 if value < 1000 else 100)


def zoom_factor(text: str) -> float | None:
    """Return a digital zoom: as written, or in ten thousandths from 1000 on."""
    value = number(text)
    return value / 10_000 if value is not None and value >= 1000 else value


@dataclass(frozen=True)
class SrtDialect:
    """How some models write subtitles.

    Attributes:
        name: the models.
        needs: keys that a subtitle of this dialect has.
        fields: what they are; `pair_order` of ``GPS()`` comes besides.
        pair_order: ``longitude, latitude`` or ``latitude, longitude``, where ``GPS()`` has both.
        says: what the reader of the result should know.
    """

    name: str
    needs: frozenset[str]
    fields: tuple[Field, ...]
    pair_order: str = ""
    says: tuple[str, ...] = ()


_UNKNOWN_ALTITUDE = (
    "its altitude is above sea level on some models and above the take-off on others, so it is not "
    "a height above the ground"
)
_BRACKETS = (
    *(Field(key, "latitude_deg") for key in _LATITUDES),
    *(Field(key, "longitude_deg") for key in _LONGITUDES),
    Field("rel_alt", "height_takeoff_m"),
    Field("gb_yaw", "yaw_deg"),
    Field("gb_pitch", "pitch_deg"),
    Field("gb_roll", "roll_deg"),
    Field("focal_len", "focal_35mm", read=focal_length_mm),
    Field("dzoom_ratio", "zoom", read=zoom_factor),
    Field("dzoom", "zoom", read=zoom_factor),
)
_BAROMETER = Field("barometer", "height_takeoff_m")

SRT_DIALECTS = (  # the first whose keys a subtitle has
    SrtDialect(
        "DJI with rel_alt and abs_alt (Air 3, Mini 3 and 4 Pro, Mavic 3, Neo, enterprise models)",
        frozenset({"latitude", "rel_alt"}),
        (*_BRACKETS, Field("abs_alt", "altitude_m")),
    ),
    SrtDialect(
        "DJI with one altitude (Air 2S, Mavic Air 2, Mavic 2)",
        frozenset({"latitude", "altitude"}),
        (*_BRACKETS, Field("altitude", "altitude_m")),
        says=(_UNKNOWN_ALTITUDE,),
    ),
    SrtDialect("DJI without altitude (Mavic 2)", frozenset({"latitude"}), _BRACKETS),
    SrtDialect("DJI, GpsLatitude", frozenset({"gpslatitude"}), _BRACKETS),
    SrtDialect(
        "DJI Phantom 4 RTK",
        frozenset({"gps()", "g.pry()"}),
        (
            Field("h", "height_takeoff_m"),
            Field("g.pry()", "pitch_deg", at=0),
            Field("g.pry()", "roll_deg", at=1),
            Field("g.pry()", "yaw_deg", at=2),
        ),
        "longitude, latitude",
    ),
    SrtDialect(
        "DJI Phantom 4 Pro, Mavic Mini",
        frozenset({"gps()", "h"}),
        (Field("h", "height_takeoff_m"),),
        "longitude, latitude",
    ),
    SrtDialect(
        "DJI Avata",
        frozenset({"gps()", "barometer()"}),
        (Field("gps()", "altitude_m", at=2),),
        "latitude, longitude",
        says=(_UNKNOWN_ALTITUDE, "BAROMETER(…) is left out: what it is measured from is unknown"),
    ),
    SrtDialect(
        "DJI Mavic Pro, Phantom 4",
        frozenset({"gps()", "barometer"}),
        (_BAROMETER,),
        "longitude, latitude",
    ),
    SrtDialect(
        "DJI Phantom 3 and 4, oldest form",
        frozenset({"gps()", "hb"}),
        (Field("hb", "height_takeoff_m"),),
        "longitude, latitude",
    ),
    SrtDialect("DJI, GPS(…) alone", frozenset({"gps()"}), (), "longitude, latitude"),
)
"""The third value of ``GPS(…)`` is the number of satellites on most models that write it, and is
not read there. Pitch, roll and yaw of the aircraft (``F.PRY``) are never those of the camera.
"""

XMP_FIELDS = (
    *(
        Field(f"{prefix}:{key}", to)
        for prefix in ("drone-dji", "drone", "drone-skydio")
        for key, to in (
            *((key, "latitude_deg") for key in _LATITUDES),
            *((key, "longitude_deg") for key in _LONGITUDES),
            ("relativealtitude", "height_takeoff_m"),
            ("absolutealtitude", "altitude_m"),
            ("gimbalyawdegree", "yaw_deg"),
            ("gimbalpitchdegree", "pitch_deg"),
            ("gimbalrolldegree", "roll_deg"),
        )
    ),
    *(
        Field(f"drone-skydio:cameraorientationned/{key}", f"{key}_deg")
        for key in ("yaw", "pitch", "roll")
    ),
    *(Field(f"drone-parrot:camera{key}degree", f"{key}_deg") for key in ("yaw", "pitch", "roll")),
    # Pix4D's names, which senseFly, Autel and multispectral cameras write: 0 is straight down.
    Field("camera:yaw", "yaw_deg"),
    Field("camera:pitch", "pitch_deg", offset=-90),
)
"""XMP of stills: prefix and name; ``/`` leads into a structure. ``Camera:Roll`` turns about the
direction of flight, not about the optical axis, and its sign varies by maker: it is not read.
"""

EXIFTOOL_FIELDS = (
    *(Field(key, "latitude_deg") for key in _LATITUDES),
    *(Field(key, "longitude_deg") for key in _LONGITUDES),
    Field("relativealtitude", "height_takeoff_m"),
    Field("absolutealtitude", "altitude_m"),
    Field("gpsaltitude", "altitude_m"),
    *(
        Field(f"{prefix}{key}{suffix}", f"{key}_deg")
        for key in ("yaw", "pitch", "roll")
        for prefix, suffix in (("gimbal", "degree"), ("gimbal", ""), ("camera", "degree"))
    ),
    Field("focallengthin35mmformat", "focal_35mm"),
    Field("digitalzoom", "zoom"),
    Field("digitalzoomratio", "zoom"),
)
"""Tags as ExifTool names them, for stills and for the ``djmd`` tracks of videos."""

AUAIR_FIELDS = (
    Field("latitude", "latitude_deg"),
    Field("longitude", "longitude_deg"),
    Field("longtitude", "longitude_deg"),
    Field("altitude", "height_takeoff_m", scale=1e-3),
    Field("angle_psi", "yaw_deg", scale=_TO_DEGREES),
)
"""AU-AIR's annotations. Roll (phi) and pitch (theta) are the aircraft's; its camera is steadied and
was tilted differently from clip to clip.
"""
