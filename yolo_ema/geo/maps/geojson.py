"""GeoJSON by RFC 7946: WGS 84, longitude first, seven decimals, outer rings counter-clockwise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.maps.features import features_of, header_of
from yolo_ema.io.atomic_files import atomic_path


def write_geojson(path: Path, flight: FlightMap, layers: Sequence[str]) -> None:
    """Write layers of a flight's map into one collection; a property ``layer`` tells them apart,
    and the member ``yolo_ema`` holds counts and assumptions.

    Raises:
        DiskFullError: there is no room; what was there before is intact.
    """
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_pieces(flight, layers))


def _pieces(flight: FlightMap, layers: Sequence[str]) -> Iterator[str]:
    header = json.dumps(header_of(flight), ensure_ascii=False, allow_nan=False, indent=1)
    yield f'{{"type": "FeatureCollection",\n"yolo_ema": {header},\n"features": ['
    comma = ""
    for layer in layers:
        for geometry, properties in features_of(flight, layer):
            feature = {
                "type": "Feature",
                "geometry": geometry,
                "properties": {"layer": layer, **properties},
            }
            yield f"{comma}\n{json.dumps(feature, ensure_ascii=False, allow_nan=False)}"
            comma = ","
    yield "\n]}\n"
