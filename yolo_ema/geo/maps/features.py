"""A flight's layers as features for every format: objects, paths, sightings and coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.geodesic import wrapped_deg
from yolo_ema.geo.maps.antimeridian import cut_line, cut_polygons
from yolo_ema.geo.objects import MapObject
from yolo_ema.geo.sightings import LocatedSource
from yolo_ema.io.text_files import shown_path

LAYERS = ("objects", "paths", "sightings", "coverage")

_DECIMALS = 7
_UTC_FROM_S = 1e8


class Feature(NamedTuple):
    """One thing of a layer.

    Attributes:
        geometry: type and coordinates as in GeoJSON, longitude first; None without a place.
        properties: what is known of it, plain values.
    """

    geometry: dict[str, Any] | None
    properties: dict[str, Any]


def features_of(flight: FlightMap, layer: str) -> Iterator[Feature]:
    """Yield the features of one layer."""
    makers = {
        "objects": _objects,
        "paths": _paths,
        "sightings": _sightings,
        "coverage": _coverage,
    }
    yield from makers[layer](flight)


def header_of(flight: FlightMap) -> dict[str, Any]:
    """Return what is to be known of the whole map: counts, what was not placed, assumptions."""
    from yolo_ema._version import __version__

    return {
        "generator": f"yolo-ema {__version__}",
        "sources": [shown_path(source.name) for source in flight.sources],
        "sightings": flight.sightings,
        "sightings_not_placed": flight.not_placed,
        "objects_per_class": flight.objects_per_class,
        "ellipses": "95 % error ellipses: half axes in metres, azimuth of the longer one in "
        "degrees clockwise from north",
        "assumptions": [shown_path(sentence) for sentence in flight.assumptions],
    }


def _objects(flight: FlightMap) -> Iterator[Feature]:
    for item in flight.objects:
        yield Feature(_point(item.longitude_deg, item.latitude_deg), _of_object(item))


def _of_object(item: MapObject) -> dict[str, Any]:
    major, minor, azimuth = (float(part) for part in item.ellipse)
    motion = item.motion
    return {
        "object_id": item.number,
        "class": item.class_name,
        "error_major_m": _rounded(major, 2),
        "error_minor_m": _rounded(minor, 2),
        "error_azimuth_deg": _rounded(azimuth, 1),
        "moving": motion.is_moving,
        "speed_m_s": _rounded(motion.speed_m_s, 2),
        "speed_sigma_m_s": _rounded(motion.speed_sigma_m_s, 2),
        "heading_deg": _rounded(motion.heading_deg, 1),
        "heading_sigma_deg": _rounded(motion.heading_sigma_deg, 1),
        "sightings": item.sightings,
        "times_seen": len(item.tracklets),
        "first_s": _rounded(item.moments_s[0], 3),
        "last_s": _rounded(item.moments_s[1], 3),
        "first_utc": _utc(item.moments_s[0]),
        "last_utc": _utc(item.moments_s[1]),
        "seen_in": "; ".join(
            shown_path(source) + ("" if identity is None else f" #{identity}")
            for source, identity, _ in item.tracklets[:20]
        )
        + (f"; and {len(item.tracklets) - 20} more" if len(item.tracklets) > 20 else ""),
    }


def _paths(flight: FlightMap) -> Iterator[Feature]:
    for item in flight.objects:
        if len(item.path_deg) < 2:
            continue
        properties = _of_object(item)
        kept = ("object_id", "class", "speed_m_s", "speed_sigma_m_s", "heading_deg")
        moments = [round(float(moment), 3) for moment in item.path_moments_s]
        yield Feature(
            cut_line(_rounded_points(item.path_deg)),
            {name: properties[name] for name in kept}
            | {name: properties[name] for name in ("first_s", "last_s", "first_utc", "last_utc")}
            | {"times_s": moments},
        )


def _sightings(flight: FlightMap) -> Iterator[Feature]:
    for index, source in enumerate(flight.sources):
        owners: dict[int, int] = {}
        for item in flight.objects:
            owners |= dict.fromkeys(item.rows.get(index, np.zeros(0, int)).tolist(), item.number)
        yield from _of_source(source, owners)


def _of_source(source: LocatedSource, owners: Mapping[int, int]) -> Iterator[Feature]:
    sightings, places = source.sightings, source.sightings.places
    major, minor, azimuth = places.ellipses
    for row in range(len(sightings)):
        placed = places.reasons[row] == ""
        geometry = _point(places.longitude_deg[row], places.latitude_deg[row]) if placed else None
        moment = float(sightings.moments_s[row])
        yield Feature(
            geometry,
            {
                "source": shown_path(source.name),
                "frame": int(sightings.frames[row]),
                "time_s": _rounded(float(sightings.times_s[row]), 3),
                "utc": _utc(moment),
                "object_id": owners.get(row),
                "track_id": _none_below_0(int(sightings.track_ids[row])),
                "class": sightings.class_names[row],
                "score": _rounded(float(sightings.scores[row]), 5),
                **{
                    name: _rounded(float(value), 2)
                    for name, value in zip(
                        ("x1", "y1", "x2", "y2"), sightings.boxes_xyxy[row], strict=True
                    )
                },
                "cut_by_border": bool(sightings.at_border[row]),
                "error_major_m": _rounded(float(major[row]), 2) if placed else None,
                "error_minor_m": _rounded(float(minor[row]), 2) if placed else None,
                "error_azimuth_deg": _rounded(float(azimuth[row]), 1) if placed else None,
                "gsd_m": _rounded(float(places.gsd_m[row]), 4) if placed else None,
                "not_placed": None if placed else str(places.reasons[row]),
            },
        )


def _coverage(flight: FlightMap) -> Iterator[Feature]:
    for area in flight.coverage:
        polygons = [[_rounded_points(np.array(ring)) for ring in p] for p in area.polygons_deg]
        yield Feature(
            cut_polygons(polygons),
            {
                "sources": "; ".join(map(shown_path, area.sources[:20]))
                + (f"; and {len(area.sources) - 20} more" if len(area.sources) > 20 else ""),
                "gsd_from_m": area.gsd_from_m,
                "gsd_to_m": _rounded(area.gsd_to_m, 3),
                "first_s": _rounded(area.first_s, 3),
                "last_s": _rounded(area.last_s, 3),
                "first_utc": _utc(area.first_s),
                "last_utc": _utc(area.last_s),
                "area_m2": round(area.square_metres),
            },
        )


def _point(longitude: float, latitude: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": _rounded_points(np.array([[longitude, latitude]]))[0]}


def _rounded_points(points: NDArray[np.float64]) -> list[list[float]]:
    longitudes = np.round(wrapped_deg(points[:, 0]), _DECIMALS)
    return np.column_stack([longitudes, np.round(points[:, 1], _DECIMALS)]).tolist()


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def _none_below_0(number: int) -> int | None:
    return number if number >= 0 else None


def _utc(moment_s: float) -> str | None:
    """Return a moment as text where it is UTC, and not seconds since a source's start."""
    if moment_s < _UTC_FROM_S:
        return None
    return datetime.fromtimestamp(moment_s, timezone.utc).isoformat(timespec="milliseconds")
