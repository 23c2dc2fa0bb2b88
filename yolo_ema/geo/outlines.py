"""Outlines of cells of a grid as polygons with holes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ring = list[tuple[int, int]]
Corner = TypeVar("Corner", bound=Hashable)


def outlines(cells: NDArray[np.bool_]) -> list[list[Ring]]:
    """Return the polygons of cells that are set, each its outer ring and those of its holes.

    Args:
        cells: (H, W); cell (row, column) spans x from column to column + 1 and y, upwards, from row
            to row + 1.

    Returns:
        Closed rings of corners (x, y), the outer ones counter-clockwise, holes clockwise. Cells
        that touch at a corner alone belong to different polygons.
    """
    rings = [loop for ring in _rings(cells) for loop in loops_of(ring)]
    outer = [ring for ring in rings if _area(ring) > 0]
    polygons = [[ring] for ring in outer]
    for hole in (ring for ring in rings if _area(ring) < 0):
        holders = [number for number, ring in enumerate(outer) if _holds(ring, _point_inside(hole))]
        polygons[min(holders, key=lambda number: _area(outer[number]))].append(hole)
    return polygons


def loops_of(ring: list[Corner]) -> list[list[Corner]]:
    """Return a closed ring cut where it comes back to a corner, as what a polygon's rings may not:
    a ring that encloses a hole in passing becomes an outer ring and a hole.
    """
    loops: list[list[Corner]] = []
    path: list[Corner] = []
    index_of: dict[Corner, int] = {}
    for corner in ring:
        if corner in index_of:
            start = index_of[corner]
            loops.append([*path[start:], corner])
            for left in path[start + 1 :]:
                del index_of[left]
            del path[start + 1 :]
        else:
            index_of[corner] = len(path)
            path.append(corner)
    return loops


def _rings(cells: NDArray[np.bool_]) -> list[Ring]:
    """Return closed rings along which set cells lie on the left."""
    padded = np.pad(cells, 1)
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (y, x), start, end in _edges(padded):
        ends.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    rings = []
    while ends:
        first = next(iter(ends))
        ring, place, before = [first], first, None
        while True:
            options = ends[place]
            following = _leftmost(before, place, options)
            options.remove(following)
            if not options:
                del ends[place]
            before, place = place, following
            ring.append(place)
            if place == first:
                break
        rings.append(_straightened(ring))
    return rings


def _edges(
    padded: NDArray[np.bool_],
) -> list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Return each cell's edges to cells that are not set: cell, start and end of the edge."""
    inner = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # below: eastwards
        (padded[1:-1, 2:], (1, 0), (1, 1)),  # right: upwards
        (padded[2:, 1:-1], (1, 1), (0, 1)),  # above: westwards
        (padded[1:-1, :-2], (0, 1), (0, 0)),  # left: downwards
    )
    return [
        ((int(y), int(x)), start, end)
        for neighbour, start, end in sides
        for y, x in np.argwhere(inner & ~neighbour).tolist()
    ]


def _leftmost(
    before: tuple[int, int] | None, place: tuple[int, int], options: list[tuple[int, int]]
) -> tuple[int, int]:
    """Return where to go on where two cells touch at a corner: to the left, which keeps them
    apart.
    """
    if before is None or len(options) == 1:
        return options[0]
    came = (place[0] - before[0], place[1] - before[1])
    return max(
        options, key=lambda end: came[0] * (end[1] - place[1]) - came[1] * (end[0] - place[0])
    )


def _straightened(ring: Ring) -> Ring:
    """Return a closed ring without corners on straight lines."""
    corners = ring[:-1]
    kept = [
        corner
        for number, corner in enumerate(corners)
        if not (
            corners[number - 1][0] == corner[0] == corners[(number + 1) % len(corners)][0]
            or corners[number - 1][1] == corner[1] == corners[(number + 1) % len(corners)][1]
        )
    ]
    return [*kept, kept[0]]


def _area(ring: Ring) -> float:
    x, y = np.array(ring, float).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def _point_inside(hole: Ring) -> tuple[float, float]:
    """Return the middle of a cell inside a hole: on the right of its first edge."""
    (x0, y0), (x1, y1) = hole[0], hole[1]
    length = max(abs(x1 - x0), abs(y1 - y0))
    step = ((x1 - x0) / length, (y1 - y0) / length)
    return x0 + step[0] / 2 + step[1] / 2, y0 + step[1] / 2 - step[0] / 2


def _holds(ring: Ring, point: tuple[float, float]) -> bool:
    """Say whether a point lies within a ring: an odd number of edges lie to its right."""
    x, y = np.array(ring, float).T
    upward = (y[:-1] > point[1]) != (y[1:] > point[1])
    return bool((upward & (x[:-1] > point[0])).sum() % 2)
