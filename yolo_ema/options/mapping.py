"""Options about places on the map, for every verb that puts detections there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from yolo_ema.options.fields import option
from yolo_ema.options.telemetry import TELEMETRY, TelemetryOptions

MAP = "map"
"""Heading of what concerns places on the ground and what is made of them."""

_map_option = partial(option, group=MAP)


def _sigma_option(quantity: str, unit: str) -> Any:
    return _map_option(
        None,
        help=f"standard deviation of the {quantity}; default: by the kind of telemetry",
        at_least=0,
        unit=unit,
    )


@dataclass(frozen=True, kw_only=True)
class PlacingOptions(TelemetryOptions):
    """Where the camera was, and how boxes are placed on the ground."""

    GROUPS: ClassVar[tuple[str, ...]] = (TELEMETRY, MAP)

    max_error: float = _map_option(
        25.0,
        help="place nothing whose 95 % error ellipse reaches farther than this",
        above=0,
        unit="metres",
    )
    base: str = _map_option(
        "auto",
        choices=("auto", "bottom", "centre"),
        help="the point of a box that stands on the ground: below the object's middle, by the "
        "height of its class and the angle of view (auto), or always the lower edge's middle or "
        "the box's",
    )
    sigma_position: float | None = _sigma_option("camera's position", "metres")
    sigma_height: float | None = _sigma_option("camera's height above the ground seen", "metres")
    sigma_yaw: float | None = _sigma_option("camera's yaw", "degrees")
    sigma_pitch: float | None = _sigma_option("camera's pitch", "degrees")
    sigma_roll: float | None = _sigma_option("camera's roll", "degrees")
    sigma_hfov: float | None = _sigma_option("field of view", "degrees")
    sigma_box: float = _map_option(
        2.0, help="standard deviation of the point of a box", at_least=0, unit="pixels"
    )


@dataclass(frozen=True, kw_only=True)
class MapOptions(PlacingOptions):
    """Where the camera was, how boxes are placed on the ground, and what becomes of them."""

    unique: bool = _map_option(
        True,
        help="join sightings of one stationary object: after the camera has turned away, in other "
        "videos of the flight, in overlapping images",
    )
    coverage_gsd: float = _map_option(
        0.5,
        help="ground counts as seen where a pixel covers no more than this",
        above=0,
        unit="metres",
    )
    map_tiles: str | None = _map_option(
        None,
        metavar="URL",
        help="tiles below the HTML map, as https://host/{z}/{x}/{y}.png; default: none, the page "
        "fetches nothing",
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        tiles = self.map_tiles
        if tiles is not None and not (
            tiles.startswith(("https://", "http://"))
            and all(part in tiles for part in ("{z}", "{x}", "{y}"))
        ):
            yield f"--map-tiles is {tiles}; expected an address with {{z}}, {{x}} and {{y}}"
