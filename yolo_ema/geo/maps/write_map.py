"""Writes a flight's map in the format that a file's name asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo_ema.errors import ConfigError
from yolo_ema.geo.flight_map import FlightMap


def write_map(
    path: Path,
    flight: FlightMap,
    *,
    layers: Sequence[str] = ("objects", "paths", "coverage"),
    tiles: str | None = None,
) -> None:
    """Write a map; a file of that name is replaced once the new one is whole.

    Args:
        path: its suffix is the format: .geojson, .gpkg, .kml, .html or .csv.
        flight: what to write.
        layers: of GeoJSON and KML.
        tiles: address of tiles for the page.

    Raises:
        ConfigError: the suffix names no format.
        DiskFullError: there is no room; what was there before is intact.
    """
    # Each format is imported where it is written.
    suffix = path.suffix.lower()
    if suffix == ".geojson":
        from yolo_ema.geo.maps.geojson import write_geojson

        write_geojson(path, flight, layers)
    elif suffix == ".gpkg":
        from yolo_ema.geo.maps.geopackage import write_geopackage

        write_geopackage(path, flight)
    elif suffix == ".kml":
        from yolo_ema.geo.maps.kml import write_kml

        write_kml(path, flight, layers)
    elif suffix == ".html":
        from yolo_ema.geo.maps.page import write_page

        write_page(path, flight, tiles=tiles)
    elif suffix == ".csv":
        from yolo_ema.geo.maps.csv_table import write_csv

        write_csv(path, flight)
    else:
        raise ConfigError(
            f"{path} is not a map; expected a name that ends in .geojson, .gpkg, .kml, .html or "
            f".csv"
        )
