"""Lines and polygons that cross the antimeridian, cut there in two, as RFC 7946 asks for."""

from __future__ import annotations

import itertools
from typing import Any

from yolo_ema.geo.outlines import loops_of

_BESIDE = 179.9999999

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
    # Corners on the line move off it by the last decimal, 1 cm: no edge runs along it then.
    whole = [[[x % 360 if abs(x) != 180 else _BESIDE, y] for x, y in ring] for ring in rings]
    east = _half(whole, left=False)
    return [
        *_half(whole, left=True),
        *([[[x - 360, y] for x, y in ring] for ring in polygon] for polygon in east),
    ]


def _half(rings: list[Ring], *, left: bool) -> list[list[Ring]]:
    """Return the polygons of one side of 180 degrees: chains of the rings there, joined along the
    line where the inside lies between two crossings, which are every other two of them.
    """
    whole: list[Ring] = []
    chains: list[Ring] = []
    for ring in rings:
        inside = [(point[0] <= 180) == left for point in ring]
        if all(inside):
            whole.append(ring)
        elif any(inside):
            chains += _chains(ring, inside)
    ends = sorted(
        (chain[end][1], number, end) for number, chain in enumerate(chains) for end in (0, -1)
    )
    following: dict[int, int] = {}
    for end, other in zip(ends[::2], ends[1::2], strict=True):
        leaving, entering = (end, other) if end[2] else (other, end)
        following[leaving[1]] = entering[1]
    while following:
        number, joined = next(iter(following)), []
        while number in following:
            joined += chains[number]
            number = following.pop(number)
        whole.append([*joined, joined[0]])
    tidy = [loop for ring in whole for loop in _rounded(ring)]
    outer = [[ring] for ring in tidy if _area(ring) > 0]
    for hole in (ring for ring in tidy if _area(ring) < 0):
        holders = [polygon for polygon in outer if _holds(polygon[0], hole)]
        if holders:  # or else rounding closed what it was a hole of
            min(holders, key=lambda polygon: _area(polygon[0])).append(hole)
    return outer


def _chains(ring: Ring, inside: list[bool]) -> list[Ring]:
    """Return the parts of a closed ring that are inside, each from 180 degrees to 180 degrees."""
    chains: list[Ring] = [[]]
    for (before, point), (was, now) in zip(
        itertools.pairwise(ring), itertools.pairwise(inside), strict=True
    ):
        if was:
            chains[-1].append(before)
        if was != now:
            share = (180 - before[0]) / (point[0] - before[0])
            chains[-1].append([180.0, before[1] + share * (point[1] - before[1])])
        if was and not now:
            chains.append([])
    last = chains.pop()  # what follows the last exit runs on through the ring's start
    return [last + chains[0], *chains[1:]]


def _rounded(ring: Ring) -> list[Ring]:
    """Return a ring as loops of rounded points, none of which comes back to one."""
    points = [(x, round(y, 7)) for x, y in ring]
    return [[list(point) for point in loop] for loop in loops_of(points)]


def _area(ring: Ring) -> float:
    """Return twice a closed ring's area, above 0 where it runs counter-clockwise."""
    x0, y0 = ring[0]
    return sum(
        (a[0] - x0) * (b[1] - y0) - (b[0] - x0) * (a[1] - y0) for a, b in itertools.pairwise(ring)
    )


def _holds(ring: Ring, hole: Ring) -> bool:
    """Say whether a hole's first edge lies within a ring: an odd number of edges to its right."""
    x, y = ((a + b) / 2 for a, b in zip(hole[0], hole[1], strict=True))
    return bool(
        sum(
            (a[1] > y) != (b[1] > y) and a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]) > x
            for a, b in itertools.pairwise(ring)
        )
        % 2
    )
