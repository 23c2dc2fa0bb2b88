"""Telemetry in tables: a plain CSV of poses, and AU-AIR's annotations."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from yolo_ema.errors import TelemetryError, did_you_mean
from yolo_ema.geo.telemetry.dialects import AUAIR_FIELDS
from yolo_ema.geo.telemetry.reading import QUANTITIES, Reading, Sample, utc_moment, values_of
from yolo_ema.io.text_files import decode_text, one_line

CSV_COLUMNS = {
    "time_s": "seconds since the first frame of the video",
    "utc": "the moment in UTC, as in 2026-05-17T08:28:30.250Z, instead of time_s",
    "image": "file name or path of a still, instead of time_s",
    "latitude_deg": "degrees north on WGS 84; needed",
    "longitude_deg": "degrees east on WGS 84; needed",
    "height_takeoff_m": "metres above the point of take-off",
    "altitude_m": "metres above sea level",
    "ground_altitude_m": "metres above sea level of the ground in the middle of the view",
    "yaw_deg": "direction of the optical axis, clockwise from true north",
    "pitch_deg": "of the optical axis, -90 straight down, 0 at the horizon",
    "roll_deg": "about the optical axis, positive where the camera's right side goes down",
    "hfov_deg": "how wide a frame is",
}
_KEYS = ("time_s", "utc", "image")
_SIGHTINGS = {"object_id", "track_id", "error_major_m"}
_NEEDED = ("latitude_deg", "longitude_deg")


def read_csv_poses(path: Path) -> Reading:
    """Read a CSV whose first line names `CSV_COLUMNS`, in any order; cells may be empty where
    nothing is known. Other columns are left out by name.

    Raises:
        TelemetryError: a column is missing, or a cell is wrong: the message names line and column.
    """
    rows, header = _rows_below_header(path)
    try:
        key = _key_column(header)
        reading = Reading("csv", clock="utc" if key == "utc" else "video")
        other = [name for name in header if name and name not in CSV_COLUMNS]
        if other:
            hint = did_you_mean(other[0], CSV_COLUMNS)
            reading.assumptions.append(f"columns left out: {', '.join(other)}{hint}")
        for row in rows:
            if rows.dialect.delimiter != ",":  # a comma is a decimal point then
                row = [
                    cell if name == "image" else cell.replace(",", ".")
                    for cell, name in itertools.zip_longest(row, header[: len(row)], fillvalue="")
                ]
            if any(cell.strip() for cell in row):
                _take(reading, key, header, row, rows.line_num)
    except csv.Error as error:
        raise TelemetryError(f"line {rows.line_num}: {error}") from error
    if key == "utc":
        _count_from_first(reading)
    if not reading.samples and not reading.stills:
        raise TelemetryError("it has no lines of poses", "no_position")
    return reading


def holds_poses(path: Path) -> bool:
    """Say whether a file is a table of poses."""
    try:
        _key_column(_rows_below_header(path)[1])
    except (OSError, TelemetryError):
        return False
    return True


def _rows_below_header(path: Path) -> tuple[Any, list[str]]:
    lines = _lines(path)
    delimiter = max(",;\t", key=next(iter(lines), "").count)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        return rows, [one_line(name).lower() for name in next(rows)]
    except csv.Error as error:
        raise TelemetryError(f"line 1: {error}") from error
    except StopIteration:
        raise TelemetryError("it is empty; expected a first line with column names") from None


def _lines(path: Path) -> list[str]:
    return decode_text(path.read_bytes()).splitlines(keepends=True)


def _key_column(header: Sequence[str]) -> str:
    """Return the column that says of which moment or image a line is."""
    if _SIGHTINGS.issubset(header):
        raise TelemetryError("it holds the sightings of a map, not poses", "not_found")
    twice = next((name for name in CSV_COLUMNS if header.count(name) > 1), None)
    if twice is not None:
        raise TelemetryError(f"it has the column {twice} twice")
    missing = [name for name in _NEEDED if name not in header]
    key = next((name for name in reversed(_KEYS) if name in header), None)
    if key is None:
        missing.insert(0, "time_s, utc or image")
    if missing or key is None:
        near = next((did_you_mean(name, CSV_COLUMNS) for name in header if name), "")
        raise TelemetryError(
            f"its first line lacks {' and '.join(missing)}; found {', '.join(header[:12])}{near}"
        )
    return key


def _take(reading: Reading, key: str, header: Sequence[str], row: Sequence[str], line: int) -> None:
    if len(row) > len(header):
        raise TelemetryError(f"line {line} has {len(row)} cells; expected {len(header)}")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
    values = {
        name: _number(cells[name], name, line)
        for name in QUANTITIES
        if name in CSV_COLUMNS and cells.get(name)
    }
    for name in (*_NEEDED, key):
        if not cells.get(name):
            raise TelemetryError(f"line {line}, column {name}: empty; expected a value")
    if key == "image":
        reading.tell(cells["image"], Sample(0.0, values, "sea level"))
        return
    utc = _moment(cells["utc"], line) if key == "utc" else None
    reading.samples.append(Sample(values.pop("time_s", 0.0), values, "sea level", utc))


def _number(text: str, column: str, line: int) -> float:
    low, high = QUANTITIES[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise TelemetryError(
            f"line {line}, column {column}: {text!r}; expected a number from {low:g} to {high:g}"
        )
    return value


def _moment(text: str, line: int) -> datetime:
    moment = utc_moment(text)
    if moment is None:
        raise TelemetryError(
            f"line {line}, column utc: {text!r}; expected a moment such as 2026-05-17T08:28:30.250Z"
        )
    return moment


def _count_from_first(reading: Reading) -> None:
    """Count the times of samples with UTC from the first of them."""
    first = min((sample.utc for sample in reading.samples if sample.utc is not None), default=None)
    reading.samples = [
        Sample((s.utc - first).total_seconds(), s.values, s.altitude_datum, s.utc)
        for s in reading.samples
        if s.utc is not None and first is not None
    ]


def is_auair(content: Any) -> bool:
    """Say whether the content of a JSON file is AU-AIR's annotations."""
    rows = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(rows, list) and any(
        isinstance(row, dict) and "image_name" in row and "angle_psi" in row for row in rows
    )


def read_auair(content: Any) -> Reading:
    """Read AU-AIR's annotations: a pose for each image.

    Raises:
        TelemetryError: no image has a position.
    """
    assumption = (
        "heights are in millimetres above the take-off, the camera looks where the aircraft heads; "
        "how far down it looks AU-AIR does not tell"
    )
    reading = Reading("auair", assumptions=[assumption])
    for row in content["annotations"]:
        if not isinstance(row, dict) or "image_name" not in row:
            continue
        record = {str(key).lower(): [repr(value)] for key, value in row.items()}
        values = values_of(AUAIR_FIELDS, record)
        placed = "latitude_deg" in values and "longitude_deg" in values
        reading.tell(str(row["image_name"]), Sample(0.0, values) if placed else "no_position")
    if not any(isinstance(still, Sample) for still in reading.stills.values()):
        raise TelemetryError("none of its images has a position", "no_position")
    return reading
