"""Every sighting with its place as a row of a CSV file, those without one too."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.maps.features import features_of, header_of
from yolo_ema.io.atomic_files import atomic_path, write_json
from yolo_ema.io.text_files import csv_text

_COLUMNS = (
    *("source", "frame", "time_s", "utc", "object_id", "track_id", "class", "score"),
    *("longitude_deg", "latitude_deg", "error_major_m", "error_minor_m", "error_azimuth_deg"),
    *("gsd_m", "not_placed", "x1", "y1", "x2", "y2", "cut_by_border"),
)


def write_csv(path: Path, flight: FlightMap) -> None:
    """Write the sightings; what CSV has no place for, counts and assumptions, goes into a file
    beside it that ends in ``.about.json``.

    Raises:
        DiskFullError: there is no room; what was there before is intact.
    """
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for geometry, properties in features_of(flight, "sightings"):
            longitude, latitude = geometry["coordinates"] if geometry else (None, None)
            row = properties | {"longitude_deg": longitude, "latitude_deg": latitude}
            writer.writerow([cell_of(row[name]) for name in _COLUMNS])
    write_json(path.with_suffix(".about.json"), header_of(flight))


def cell_of(value: object) -> object:
    """Return a value as a cell, truth values and text as `csv` itself does not write them."""
    if isinstance(value, bool):
        return json.dumps(value)
    return csv_text(value) if isinstance(value, str) else value
