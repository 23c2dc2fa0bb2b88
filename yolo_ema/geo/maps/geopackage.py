"""GeoPackage (OGC 12-128r19) in SQLite: the layers objects, paths, sightings and coverage, and a
table ``about`` with counts and assumptions.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from yolo_ema.errors import DiskFullError
from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.maps.features import LAYERS, Feature, features_of, header_of
from yolo_ema.io.atomic_files import atomic_path

_APPLICATION_ID = 0x47504B47  # "GPKG"
_USER_VERSION = 10300
WGS84 = 4326
_KINDS = {
    "objects": "POINT",
    "paths": "MULTILINESTRING",
    "sightings": "POINT",
    "coverage": "MULTIPOLYGON",
}
_WKB = {"Point": 1, "LineString": 2, "Polygon": 3, "MultiLineString": 5, "MultiPolygon": 6}
_SCHEMA = """
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY,
  organization TEXT NOT NULL, organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL,
  description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL,
  identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
"""
_WGS84_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG",'
    '"7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree"'
    ',0.0174532925199433,AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],'
    'AUTHORITY["EPSG","4326"]]'
)
_SYSTEMS = (
    ("WGS 84", WGS84, "EPSG", WGS84, _WGS84_WKT, "longitude and latitude in degrees"),
    ("Undefined Cartesian SRS", -1, "NONE", -1, "undefined", "undefined Cartesian"),
    ("Undefined geographic SRS", 0, "NONE", 0, "undefined", "undefined geographic"),
)
_COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "objects": (
        ("object_id", "INTEGER"),
        ("class", "TEXT"),
        *((name, "REAL") for name in ("error_major_m", "error_minor_m", "error_azimuth_deg")),
        ("moving", "BOOLEAN"),
        *((name, "REAL") for name in ("speed_m_s", "speed_sigma_m_s")),
        *((name, "REAL") for name in ("heading_deg", "heading_sigma_deg")),
        *((name, "INTEGER") for name in ("sightings", "times_seen")),
        *((name, "REAL") for name in ("first_s", "last_s")),
        *((name, "DATETIME") for name in ("first_utc", "last_utc")),
        ("seen_in", "TEXT"),
    ),
    "paths": (
        ("object_id", "INTEGER"),
        ("class", "TEXT"),
        *((name, "REAL") for name in ("speed_m_s", "speed_sigma_m_s", "heading_deg")),
        *((name, "REAL") for name in ("first_s", "last_s")),
        *((name, "DATETIME") for name in ("first_utc", "last_utc")),
        ("times_s", "TEXT"),
    ),
    "sightings": (
        ("source", "TEXT"),
        ("frame", "INTEGER"),
        ("time_s", "REAL"),
        ("utc", "DATETIME"),
        *((name, "INTEGER") for name in ("object_id", "track_id")),
        ("class", "TEXT"),
        *((name, "REAL") for name in ("score", "x1", "y1", "x2", "y2")),
        ("cut_by_border", "BOOLEAN"),
        *((name, "REAL") for name in ("error_major_m", "error_minor_m", "error_azimuth_deg")),
        ("gsd_m", "REAL"),
        ("not_placed", "TEXT"),
    ),
    "coverage": (
        ("sources", "TEXT"),
        *((name, "REAL") for name in ("gsd_from_m", "gsd_to_m", "first_s", "last_s")),
        *((name, "DATETIME") for name in ("first_utc", "last_utc")),
        ("area_m2", "REAL"),
    ),
}

Box = tuple[float, float, float, float]


def write_geopackage(path: Path, flight: FlightMap) -> None:
    """Write all layers of a flight's map.

    Raises:
        DiskFullError: there is no room; what was there before is intact.
    """
    with new_geopackage(path) as connection:
        for layer in LAYERS:
            _write_layer(connection, layer, features_of(flight, layer))
        write_about(connection, _about(flight))


@contextlib.contextmanager
def new_geopackage(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to an empty GeoPackage that replaces ``path`` if the block succeeds.

    Raises:
        DiskFullError: there is no room; what was there before is intact.
    """
    with atomic_path(path) as temp:
        temp.unlink()  # SQLite makes its file itself
        connection = sqlite3.connect(temp)
        try:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_USER_VERSION}")
            connection.executescript(_SCHEMA)
            connection.executemany(
                "INSERT INTO gpkg_spatial_ref_sys VALUES (?,?,?,?,?,?)", _SYSTEMS
            )
            yield connection
            connection.commit()
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            raise DiskFullError(
                f"disk full while writing {path}. Free some space and run the same command again."
            ) from error
        finally:
            connection.close()


def write_about(connection: sqlite3.Connection, rows: Iterable[tuple[str, str]]) -> None:
    """Write the table ``about``: names and values."""
    connection.execute(
        "CREATE TABLE about (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT, value TEXT)"
    )
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description) "
        "VALUES ('about', 'attributes', 'about', 'counts and assumptions')"
    )
    connection.executemany("INSERT INTO about (name, value) VALUES (?,?)", rows)


def _about(flight: FlightMap) -> Iterator[tuple[str, str]]:
    for name, value in header_of(flight).items():
        if name == "assumptions":
            yield from (("assumption", sentence) for sentence in value)
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_layer(connection: sqlite3.Connection, layer: str, features: Iterable[Feature]) -> None:
    columns = _COLUMNS[layer]
    names = ", ".join(f'"{name}" {kind}' for name, kind in columns)
    connection.execute(
        f'CREATE TABLE "{layer}" (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, '
        f"geom {_KINDS[layer]}, {names})"
    )
    marks = ", ".join("?" * (len(columns) + 1))
    insert = f'INSERT INTO "{layer}" VALUES (NULL, {marks})'  # noqa: S608 - names of ours
    boxes: list[Box] = []
    for geometry, properties in features:
        blob = None
        if geometry is not None:
            blob, box = blob_of(geometry, _KINDS[layer])
            boxes.append(box)
        values = [_value(properties[name], kind) for name, kind in columns]
        connection.execute(insert, (blob, *values))
    extent: tuple[float | None, ...] = (None,) * 4
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        extent = (min(west), min(south), max(east), max(north))
    register_layer(connection, layer, _KINDS[layer], extent)


def register_layer(
    connection: sqlite3.Connection,
    layer: str,
    kind: str,
    extent: Sequence[float | None],
    system: int = WGS84,
) -> None:
    """Enter a layer into the tables of contents: its kind of geometry, its extent (least x and y,
    largest x and y; None without features) and the number of its reference system.
    """
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, min_x, min_y, max_x, max_y, "
        "srs_id) VALUES (?, 'features', ?, ?, ?, ?, ?, ?)",
        (layer, layer, *extent, system),
    )
    connection.execute(
        "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)",
        (layer, kind, system),
    )


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "DATETIME":  # the format knows UTC with a Z alone
        moment = datetime.fromisoformat(value).astimezone(timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    return json.dumps(value) if isinstance(value, list) else value


def blob_of(geometry: dict[str, Any], kind: str, system: int = WGS84) -> tuple[bytes, Box]:
    """Return a geometry in GeoPackage's form, and its extent: west, south, east, north."""
    name, coordinates = geometry["type"], geometry["coordinates"]
    if kind.startswith("MULTI") and not name.startswith("Multi"):
        name, coordinates = f"Multi{name}", [coordinates]
    points = list(_points(coordinates))
    west, south = (min(point[axis] for point in points) for axis in (0, 1))
    east, north = (max(point[axis] for point in points) for axis in (0, 1))
    has_envelope = 0 if kind == "POINT" else 1
    header = b"GP" + struct.pack("<BBi", 0, 1 | has_envelope << 1, system)
    if has_envelope:
        header += struct.pack("<4d", west, east, south, north)
    return header + _wkb(name, coordinates), (west, south, east, north)


def _points(coordinates: Any) -> Iterator[Sequence[float]]:
    if isinstance(coordinates[0], float | int):
        yield coordinates
    else:
        for part in coordinates:
            yield from _points(part)


def _wkb(name: str, coordinates: Any) -> bytes:
    start = struct.pack("<BI", 1, _WKB[name])
    if name == "Point":
        return start + struct.pack("<2d", *coordinates)
    if name.startswith("Multi"):
        single = name.removeprefix("Multi")
        return start + _counted(_wkb(single, part) for part in coordinates)
    if name == "LineString":
        return start + _counted(struct.pack("<2d", *point) for point in coordinates)
    return start + _counted(
        _counted(struct.pack("<2d", *point) for point in ring) for ring in coordinates
    )


def _counted(parts: Iterable[bytes]) -> bytes:
    encoded = list(parts)
    return struct.pack("<I", len(encoded)) + b"".join(encoded)
