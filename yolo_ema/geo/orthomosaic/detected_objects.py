"""What was found in an orthomosaic, as rows of pixels, polygons and places."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_ema.geo.maps.antimeridian import cut_polygons
from yolo_ema.geo.orthomosaic.georeference import Georeference

_DEGREE_DECIMALS = 7


@dataclass(frozen=True)
class DetectedObject:
    """One object.

    Attributes:
        number: from 1, in the order of the files.
        class_name, score: as detected.
        box_xyxy: in pixels of the file.
        ring_xy: the box's corners in the file's projection, closed, counter-clockwise; in pixels
            where there is no georeference.
        centre_xy: the box's middle there.
        geometry: the polygon in longitude and latitude as GeoJSON has it; None where unknown.
        centre_deg: longitude and latitude of the middle; None where unknown.
    """

    number: int
    class_name: str
    score: float
    box_xyxy: list[float]
    ring_xy: list[list[float]]
    centre_xy: list[float]
    geometry: dict[str, Any] | None
    centre_deg: list[float] | None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "object_id": self.number,
            "class": self.class_name,
            "score": self.score,
            "box_xyxy": self.box_xyxy,
            "polygon_xy": self.ring_xy,
            "centre_xy": self.centre_xy,
            "longitude_deg": self.centre_deg[0] if self.centre_deg else None,
            "latitude_deg": self.centre_deg[1] if self.centre_deg else None,
            "geometry": self.geometry,
        }


def objects_of(
    rows: np.ndarray, place: Georeference, names: Mapping[int, str], first: int
) -> Iterator[DetectedObject]:
    """Yield the objects of boxes (N, 6) x1, y1, x2, y2 in pixels, score, class id; numbered from
    ``first``.
    """
    corners = place.corners_xy(rows[:, :4])
    centres = place.corners_xy(np.tile((rows[:, :2] + rows[:, 2:4]) / 2.0, 2))[:, 0]
    corners_deg, centres_deg = place.degrees_of(corners), place.degrees_of(centres)
    for index, row in enumerate(rows):
        degrees = None if corners_deg is None else corners_deg[index]
        centre = None if centres_deg is None else centres_deg[index]
        yield DetectedObject(
            first + index,
            names[int(row[5])],
            round(float(row[4]), 5),
            [round(float(value), 2) for value in row[:4]],
            _ring(corners[index]).tolist(),
            centres[index].tolist(),
            None if degrees is None or not np.isfinite(degrees).all() else _polygon(degrees),
            None if centre is None or not np.isfinite(centre).all() else _once_around(centre),
        )


def _once_around(centre_deg: np.ndarray) -> list[float]:
    """Return longitude and latitude, rounded, the longitude from -180 to 180."""
    longitude, latitude = _rounded(centre_deg).tolist()
    return [round(math.remainder(longitude, 360), _DEGREE_DECIMALS), latitude]


def _ring(corners: np.ndarray) -> np.ndarray:
    """Return corners as a closed ring, counter-clockwise."""
    x, y = (corners - corners[0]).T
    area = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    if area < 0:
        corners = corners[::-1]
    return np.concatenate([corners, corners[:1]])


def _polygon(degrees: np.ndarray) -> dict[str, Any]:
    around = degrees.copy()
    # In one count of degrees, so that a box across the antimeridian is turned the right way.
    around[:, 0] = around[0, 0] + (around[:, 0] - around[0, 0] + 180) % 360 - 180
    ring = _rounded(_ring(around))
    ring[:, 0] = [math.remainder(longitude, 360) for longitude in ring[:, 0]]
    return cut_polygons([[_rounded(ring).tolist()]])


def _rounded(degrees: np.ndarray) -> np.ndarray:
    return np.round(degrees, _DEGREE_DECIMALS)
