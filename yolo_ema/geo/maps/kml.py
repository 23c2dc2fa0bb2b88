"""KML 2.2 for Google Earth: objects with their ellipses, paths, coverage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from yolo_ema.constants import CHART_COLOURS
from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.geodesic import geodesic_forward
from yolo_ema.geo.maps.antimeridian import cut_polygons
from yolo_ema.geo.maps.features import Feature, features_of, header_of
from yolo_ema.io.atomic_files import atomic_path

_CORNERS = 36
_ORDER = ("coverage", "paths", "sightings", "objects")
_FILLED, _LINE = "40", "d0"


def write_kml(path: Path, flight: FlightMap, layers: Sequence[str]) -> None:
    """Write layers of a flight's map, each a folder; what was assumed is the document's
    description.

    Raises:
        DiskFullError: there is no room; what was there before is intact.
    """
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in _lines(flight, layers))


def _lines(flight: FlightMap, layers: Sequence[str]) -> Iterator[str]:
    header = header_of(flight)
    description = "\n".join([*header["assumptions"], header["ellipses"]])
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
    yield f"<name>{_text(header['generator'])}</name>"
    yield f"<description>{_text(description)}</description>"
    classes = list(flight.objects_per_class)
    for number, colour in enumerate(CHART_COLOURS):
        yield from _style(f"class-{number}", colour)
    yield from _style("coverage", "#808080")
    for layer in (name for name in _ORDER if name in layers):
        yield f"<Folder><name>{layer}</name>"
        for feature in features_of(flight, layer):
            if feature.geometry is not None:
                yield from _placemarks(layer, feature, classes)
        yield "</Folder>"
    yield "</Document></kml>"


def _style(name: str, colour: str) -> Iterator[str]:
    bgr = colour[5:7] + colour[3:5] + colour[1:3]
    yield (
        f'<Style id="{name}"><IconStyle><color>ff{bgr}</color><scale>0.7</scale></IconStyle>'
        f"<LineStyle><color>{_LINE}{bgr}</color><width>2</width></LineStyle>"
        f"<PolyStyle><color>{_FILLED}{bgr}</color></PolyStyle></Style>"
    )


def _placemarks(layer: str, feature: Feature, classes: Sequence[str]) -> Iterator[str]:
    properties = feature.properties
    name = properties.get("class")
    style = "coverage"
    if name is not None:
        number = classes.index(name) if name in classes else 0
        style = f"class-{number % len(CHART_COLOURS)}"
    title = (
        f"{name} {properties['object_id']}" if layer in {"objects", "paths"} else (name or layer)
    )
    geometry = feature.geometry or {}
    yield _placemark(title, style, properties, geometry)
    major = properties.get("error_major_m")
    if layer == "objects" and major:
        ring = ellipse_ring(
            geometry["coordinates"],
            major,
            properties["error_minor_m"],
            properties["error_azimuth_deg"],
        )
        yield _placemark(f"{title}, 95 % ellipse", style, {}, cut_polygons([[ring]]))


def _placemark(
    title: str, style: str, properties: Mapping[str, Any], geometry: Mapping[str, Any]
) -> str:
    data = "".join(
        f'<Data name="{_text(name)}"><value>{_text(value)}</value></Data>'
        for name, value in properties.items()
        if value is not None
    )
    times = _times(properties)
    extended = f"<ExtendedData>{data}</ExtendedData>" if data else ""
    return (
        f"<Placemark><name>{_text(title)}</name>{times}<styleUrl>#{style}</styleUrl>{extended}"
        f"{_geometry(geometry['type'], geometry['coordinates'])}</Placemark>"
    )


def _times(properties: Mapping[str, Any]) -> str:
    if not properties.get("first_utc"):
        return ""
    return (
        f"<TimeSpan><begin>{properties['first_utc']}</begin><end>{properties['last_utc']}</end>"
        "</TimeSpan>"
    )


def _geometry(kind: str, coordinates: Any) -> str:
    if kind.startswith("Multi"):
        parts = "".join(_geometry(kind.removeprefix("Multi"), part) for part in coordinates)
        return f"<MultiGeometry>{parts}</MultiGeometry>"
    if kind == "Point":
        return f"<Point>{_coordinates([coordinates])}</Point>"
    if kind == "LineString":
        return f"<LineString><tessellate>1</tessellate>{_coordinates(coordinates)}</LineString>"
    outer, *holes = (f"<LinearRing>{_coordinates(ring)}</LinearRing>" for ring in coordinates)
    inner = "".join(f"<innerBoundaryIs>{ring}</innerBoundaryIs>" for ring in holes)
    return f"<Polygon><outerBoundaryIs>{outer}</outerBoundaryIs>{inner}</Polygon>"


def _coordinates(points: Sequence[Sequence[float]]) -> str:
    text = " ".join(f"{longitude:.7f},{latitude:.7f}" for longitude, latitude in points)
    return f"<coordinates>{text}</coordinates>"


def ellipse_ring(
    point: Sequence[float], major_m: float, minor_m: float, azimuth_deg: float
) -> list[list[float]]:
    """Return a closed ring of longitude and latitude, counter-clockwise, around an ellipse."""
    turn = np.linspace(2 * math.pi, 0, _CORNERS + 1)
    along, across = major_m * np.cos(turn), minor_m * np.sin(turn)
    azimuths = azimuth_deg + np.degrees(np.arctan2(across, along))
    latitudes, longitudes = geodesic_forward(point[1], point[0], azimuths, np.hypot(along, across))
    ring = np.round(np.column_stack([longitudes, latitudes]), 7).tolist()
    return [*ring[:-1], ring[0]]


def _text(value: object) -> str:
    """Return text for XML, without the control characters that it cannot hold."""
    plain = "".join(sign for sign in str(value) if sign >= " " or sign in "\n\t")
    return escape(plain, {'"': "&quot;"})
