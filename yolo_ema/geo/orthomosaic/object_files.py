"""Writes an orthomosaic's objects one by one: GeoJSON, GeoPackage, CSV and JSON Lines."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolo_ema.geo.maps.csv_table import cell_of
from yolo_ema.geo.maps.geopackage import (
    WGS84,
    blob_of,
    new_geopackage,
    register_layer,
    write_about,
)
from yolo_ema.geo.orthomosaic.detected_objects import DetectedObject
from yolo_ema.geo.orthomosaic.georeference import Georeference
from yolo_ema.io.atomic_files import atomic_path

SUFFIXES = {"geojson": ".geojson", "gpkg": ".gpkg", "csv": ".csv", "jsonl": ".jsonl"}
"""Of each kind of file."""

Write = Callable[[DetectedObject], None]

_NUMBERS = ("x1", "y1", "x2", "y2", "centre_x", "centre_y", "longitude_deg", "latitude_deg")
_OWN_SYSTEM, _NO_SYSTEM = 100_000, -1


@contextlib.contextmanager
def open_object_files(
    paths: Mapping[str, Path], place: Georeference, about: Mapping[str, Any]
) -> Iterator[Write]:
    """Yield what takes objects one by one; the files appear under their names when all are written.

    Args:
        paths: by kind, of `SUFFIXES`.
        place: where pixels lie.
        about: what is to be known of the run, plain values.

    Raises:
        DiskFullError: there is no room.
    """
    openers = {"geojson": _geojson, "gpkg": _geopackage, "csv": _csv, "jsonl": _jsonl}
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(openers[kind](path, place, about)) for kind, path in paths.items()
        ]

        def write(item: DetectedObject) -> None:
            for writer in writers:
                writer(item)

        yield write


@contextlib.contextmanager
def _geojson(path: Path, place: Georeference, about: Mapping[str, Any]) -> Iterator[Write]:
    comma = ""
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="\n") as file:

        def write(item: DetectedObject) -> None:
            nonlocal comma
            properties = item.as_json()
            del properties["polygon_xy"], properties["geometry"]
            feature = {"type": "Feature", "geometry": item.geometry, "properties": properties}
            file.write(f"{comma}\n{_json(feature)}")
            comma = ","

        head = json.dumps(about, ensure_ascii=False, allow_nan=False, indent=1)
        file.write(f'{{"type": "FeatureCollection",\n"yolo_ema": {head},\n"features": [')
        yield write
        file.write("\n]}\n")


@contextlib.contextmanager
def _jsonl(path: Path, place: Georeference, about: Mapping[str, Any]) -> Iterator[Write]:
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda item: print(_json(item.as_json()), file=file)


@contextlib.contextmanager
def _csv(path: Path, place: Georeference, about: Mapping[str, Any]) -> Iterator[Write]:
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["object_id", "class", "score", *_NUMBERS])

        def write(item: DetectedObject) -> None:
            table.writerow(
                [item.number, cell_of(item.class_name), item.score, *_numbers(item)],
            )

        yield write


@contextlib.contextmanager
def _geopackage(path: Path, place: Georeference, about: Mapping[str, Any]) -> Iterator[Write]:
    with new_geopackage(path) as connection:
        system = _system(connection, place)
        columns = ", ".join(f"{name} REAL" for name in ("score", *_NUMBERS))
        connection.execute(
            "CREATE TABLE objects (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POLYGON, "
            f"object_id INTEGER, class TEXT, {columns})"
        )
        marks = ", ".join("?" * (len(_NUMBERS) + 4))
        insert = f"INSERT INTO objects VALUES (NULL, {marks})"  # noqa: S608 - only marks
        extent: list[float | None] = [None] * 4

        def write(item: DetectedObject) -> None:
            geometry = {"type": "Polygon", "coordinates": [item.ring_xy]}
            blob, box = blob_of(geometry, "POLYGON", system)
            connection.execute(
                insert, (blob, item.number, item.class_name, item.score, *_numbers(item))
            )
            extent[:] = _widened(extent, box)

        yield write
        register_layer(connection, "objects", "POLYGON", extent, system)
        write_about(
            connection,
            (
                (name, value if isinstance(value, str) else _json(value))
                for name, value in about.items()
            ),
        )


def _system(connection: sqlite3.Connection, place: Georeference) -> int:
    """Return the number of the file's reference system, entered where it is not known already."""
    if place.wkt is None:
        return _NO_SYSTEM
    number = place.epsg or _OWN_SYSTEM
    if number != WGS84:
        organisation = "EPSG" if place.epsg else "NONE"
        connection.execute(
            "INSERT INTO gpkg_spatial_ref_sys VALUES (?,?,?,?,?,NULL)",
            (place.projection, number, organisation, number, place.wkt),
        )
    return number


def _widened(extent: Sequence[float | None], box: Sequence[float]) -> list[float | None]:
    ends = (min, min, max, max)
    return [
        end(old, new) if old is not None else new
        for end, old, new in zip(ends, extent, box, strict=True)
    ]


def _numbers(item: DetectedObject) -> list[float | None]:
    return [*item.box_xyxy, *item.centre_xy, *(item.centre_deg or (None, None))]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
