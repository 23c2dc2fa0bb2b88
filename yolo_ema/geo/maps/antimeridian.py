"""Lines and polygons that cross the antimeridian, cut there in two, as RFC 7946 asks for."""

from __future__ import annotations

import itertools
from typing import Any

__all__ = ["cut_line", "cut_polygons"]

Point = list[float]
Ring = list[Point]


def cut_line(points: list[Point]) -> dict[str, Any]:
    """Return the geometry of a line through points of longitude and latitude."""
    parts: list[list[Point]] = [[points[0]]]
    for before, point in itertools.pairwise(points):
        if abs(point[0] - before[0]) > 180:
            side = 180.0 if before[0] > 0 else -180.0
            ahead = point[0] + (360 if side > 0 else -360)
            share = (side - before[0]) / (ahead - before[0]) if ahead != before[0] else 0.0
            latitude = round(before[1] + share * (point[1] - before[1]), 7)
            parts[-1].append([side, latitude])
            parts.append([[-side, latitude]])
        parts[-1].append(point)
    if len(parts) == 1:
        return {"type": "LineString", "coordinates": parts[0]}
    return {"type": "MultiLineString", "coordinates": parts}


def cut_polygons(polygons: list[list[Ring]]) -> dict[str, Any]:
    """Return the geometry of polygons, each its outer ring and those of its holes, closed."""
    pieces = [piece for polygon in polygons for piece in _cut_polygon(polygon)]
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _cut_polygon(rings: list[Ring]) -> list[list[Ring]]:
    longitudes = [point[0] for point in rings[0]]
    if max(longitudes) - min(longitudes) <= 180:
        return [rings]
    # Both halves in one count of degrees, from 0 to 360, and the second one back again.
    whole = [[[x % 360, y] for x, y in ring] for ring in rings]
    west = [kept for ring in whole if len(kept := _half(ring, left=True)) > 3]
    east = [kept for ring in whole if len(kept := _half(ring, left=False)) > 3]
    return [half for half in (west, [[[x - 360, y] for x, y in ring] for ring in east]) if half]


def _half(ring: Ring, *, left: bool) -> Ring:
    """Return the part of a closed ring on one side of 180 degrees (Sutherland and Hodgman)."""

    def inside(point: Point) -> bool:
        return point[0] <= 180 if left else point[0] >= 180

    kept: Ring = []
    for before, point in itertools.pairwise(ring):
        if inside(before) != inside(point):
            share = (180 - before[0]) / (point[0] - before[0])
            kept.append([180.0, round(before[1] + share * (point[1] - before[1]), 7)])
        if inside(point):
            kept.append(point)
    return [*kept, kept[0]] if kept else []
