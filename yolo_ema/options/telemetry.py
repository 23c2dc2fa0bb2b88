"""Options about where the camera was, for every verb that puts detections on the map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from yolo_ema.options.fields import Options, option

__all__ = ["TELEMETRY", "TelemetryOptions"]

TELEMETRY = "telemetry"
"""Heading of what concerns where the camera was."""

_telemetry_option = partial(option, group=TELEMETRY)


@dataclass(frozen=True, kw_only=True)
class TelemetryOptions(Options):
    """Where the camera was, and what the telemetry lacks.

    What is given here replaces what the telemetry says; each such replacement is named in the
    result.

    Examples:
        >>> from yolo_ema import TelemetryOptions
        >>> TelemetryOptions(telemetry=("srt", "auto"), pitch=-60.0).pitch
        -60.0
    """

    GROUPS: ClassVar[tuple[str, ...]] = (TELEMETRY,)

    telemetry: tuple[str, ...] = _telemetry_option(
        (),
        metavar="auto|KIND|FILE[,…]",
        help="where the camera was, tried in this order: auto looks next to and inside the source; "
        "a kind, such as srt or xmp, looks for that alone; a file is read as what it is; "
        "udp:127.0.0.1:14550 listens to MAVLink",
    )
    telemetry_offset: float | None = _telemetry_option(
        None,
        metavar="SECONDS",
        help="add this to the times of the telemetry to have those of the video; also says that "
        "they belong together where their lengths do not agree",
    )
    pitch: float | None = _telemetry_option(
        None,
        help="the camera's pitch, -90 straight down, 0 at the horizon",
        at_least=-90,
        at_most=90,
        unit="degrees",
    )
    yaw: float | None = _telemetry_option(
        None,
        help="the camera's direction, clockwise from true north",
        at_least=-360,
        at_most=360,
        unit="degrees",
    )
    roll: float | None = _telemetry_option(
        None,
        help="the camera's roll, positive where its right side goes down; default: the "
        "telemetry's, or 0",
        at_least=-180,
        at_most=180,
        unit="degrees",
    )
    hfov: float | None = _telemetry_option(
        None, help="how wide a frame is, in degrees", above=0, at_most=179, unit="degrees"
    )
    camera: str | None = _telemetry_option(
        None,
        metavar="NAME",
        help="the drone whose camera it is, such as mavic3, for its field of view",
    )
    ground_height: float | None = _telemetry_option(
        None,
        help="height of level ground above the point of take-off, or its altitude where the "
        "telemetry has altitudes only; default: level with the take-off",
        at_least=-12_000,
        at_most=9_000,
        unit="metres",
    )
    dem: Path | None = _telemetry_option(
        None,
        metavar="FILE",
        help="surface or terrain model (GeoTIFF) that the lines of view meet, instead of level "
        "ground",
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if self.ground_height is not None and self.dem is not None:
            yield "--ground-height and --dem are both given; expected one of them"
        if not all(word.strip() for word in self.telemetry):
            yield "--telemetry has an empty entry; expected auto, a kind or a file between commas"
