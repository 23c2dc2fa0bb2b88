"""The map as one HTML page that fetches nothing, unless the user names a server of tiles."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup

from yolo_ema.constants import CHART_COLOURS
from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.maps.features import features_of, header_of
from yolo_ema.geo.sightings import UNPLACED
from yolo_ema.io.atomic_files import write_text
from yolo_ema.io.resources import page_template

MOST_SIGHTINGS = 20_000
"""Sightings on the page; of more, every second, third, … is shown, and the page says so."""

_HERE = Path(__file__).parent


def write_page(path: Path, flight: FlightMap, *, tiles: str | None = None) -> None:
    """Write the page.

    Raises:
        DiskFullError: there is no room; what was there before is intact.
    """
    write_text(path, map_page(flight, tiles=tiles))


def map_page(flight: FlightMap, *, tiles: str | None = None) -> str:
    """Return the page as HTML.

    Args:
        flight: what to show.
        tiles: address with {z}, {x} and {y} of tiles below it, which the reader's browser fetches.
    """
    host = f"{urlsplit(tiles).scheme}://{urlsplit(tiles).netloc}" if tiles else ""
    step = max(1, -(-flight.sightings // MOST_SIGHTINGS))
    return page_template(_HERE / "page.html.jinja").render(
        css=Markup(_text_of("page.css")),  # noqa: S704 - a file of ours
        script=Markup("\n".join(map(_text_of, ("page.js", "page_controls.js")))),  # noqa: S704 - ours
        data=Markup(_as_script(_data(flight, step, tiles))),  # noqa: S704 - escaped there
        tile_host=host,
        flight=flight,
        header=header_of(flight),
        reasons=UNPLACED,
        moving=Counter(item.motion.is_moving for item in flight.objects)[True],
        hectares=sum(area.square_metres for area in flight.coverage) / 1e4,
        step=step,
    )


def _text_of(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _data(flight: FlightMap, step: int, tiles: str | None) -> dict[str, Any]:
    """Return what the script draws."""
    sightings = [
        feature
        for number, feature in enumerate(features_of(flight, "sightings"))
        if number % step == 0 and feature.geometry is not None
    ]
    return {
        "classes": {
            name: CHART_COLOURS[number % len(CHART_COLOURS)]
            for number, name in enumerate(flight.objects_per_class)
        },
        "tiles": tiles,
        "coverage": [feature._asdict() for feature in features_of(flight, "coverage")],
        "paths": [feature._asdict() for feature in features_of(flight, "paths")],
        "sightings": [
            [*feature.geometry["coordinates"], feature.properties["class"]]
            for feature in sightings
            if feature.geometry is not None
        ],
        "objects": [feature._asdict() for feature in features_of(flight, "objects")],
    }


def _as_script(data: dict[str, Any]) -> str:
    """Return JSON that may stand within a script element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")
