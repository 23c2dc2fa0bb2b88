"""Solid bodies of flat faces, built from six-sided parts: what vehicles, people and houses are made
of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Corners 0-3 are the bottom counter-clockwise from (rear, right), 4-7 the top; faces are
# counter-clockwise seen from outside. Order: top, front, rear, left, right. The bottom is never
# seen from a drone.
_FACES = np.array([[4, 5, 6, 7], [1, 2, 6, 5], [3, 0, 4, 7], [2, 3, 7, 6], [0, 1, 5, 4]])
_HALF_A_WHEEL = 0.05  # of its thickness, metres


@dataclass(frozen=True)
class Part:
    """A convex piece of a body.

    Attributes:
        corners: (V, 3), metres; x forward, y left, z up.
        faces: (F, 4) indices into ``corners``, counter-clockwise from outside.
        colours: F colour slots.
        layer: parts of a lower layer are painted first.
    """

    corners: Array
    faces: NDArray[np.int64]
    colours: tuple[int, ...]
    layer: int


@dataclass(frozen=True)
class Mesh:
    """All parts of a body, stacked.

    Attributes:
        corners: (V, 3), metres.
        faces: (F, 4) indices into ``corners``.
        normals: (F, 3), unit length, outward.
        slots: (F,) index into the body's palette.
        part: (F,) the part that each face belongs to.
        layers: (P,) the parts' layers.
        centres: (P, 3) the parts' centres.
        footprint: length along x and width along y, metres.
    """

    corners: Array
    faces: NDArray[np.int64]
    normals: Array
    slots: NDArray[np.int64]
    part: NDArray[np.int64]
    layers: NDArray[np.int64]
    centres: Array
    footprint: tuple[float, float]


def taper(
    x: tuple[float, float],
    width: float,
    z: tuple[float, float],
    top: tuple[float, float, float],
    slots: int | Sequence[int],
    *,
    layer: int = 0,
    y: float = 0.0,
) -> Part:
    """Return a part with a rectangular bottom and a rectangular top of another size.

    Args:
        x: rear and front of the bottom, metres.
        width: of the bottom, metres.
        z: bottom and top, metres.
        top: rear, front and width of the top, metres.
        slots: colour slot of all faces, or of top, front, rear, left and right.
        layer: parts of a lower layer are painted first.
        y: the part's middle, metres to the left.
    """
    plan = np.array([[0, -1], [1, -1], [1, 1], [0, 1]])
    rings = [
        np.column_stack(
            [np.asarray(ends)[plan[:, 0]], y + plan[:, 1] * across / 2, np.full(4, height)]
        )
        for ends, across, height in ((x, width, z[0]), (top[:2], top[2], z[1]))
    ]
    colours = (slots,) * 5 if isinstance(slots, int) else tuple(slots)
    return Part(np.concatenate(rings), _FACES, colours, layer)


def box(
    x: tuple[float, float],
    width: float,
    z: tuple[float, float],
    slots: int | Sequence[int],
    *,
    layer: int = 0,
    y: float = 0.0,
) -> Part:
    """Return an upright box; arguments as for `taper`."""
    return taper(x, width, z, (*x, width), slots, layer=layer, y=y)


def sides(
    x: tuple[float, float], width: float, z: tuple[float, float], slot: int, *, layer: int
) -> Part:
    """Return two flat strips ``width`` apart, as pillars between windows are; arguments as for
    `taper`.
    """
    whole = box(x, width, z, slot, layer=layer)
    return Part(whole.corners, _FACES[3:], (slot, slot), layer)


def wheel(x: float, y: float, radius: float, slot: int) -> Part:
    """Return a wheel as a ring of eight plates, seen from both sides and from above; its axle lies
    along y.
    """
    angle = np.arange(8) * (np.pi / 4)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    rings = [
        np.column_stack(
            [x + circle[:, 0] * r, np.full(8, y + side * _HALF_A_WHEEL), radius + circle[:, 1] * r]
        )
        for side in (-1, 1)
        for r in (radius, radius * 0.72)
    ]
    outer_right, inner_right, outer_left, inner_left = (
        np.arange(8) + 8 * ring for ring in range(4)
    )

    def following(ring: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.roll(ring, -1)

    faces = np.concatenate(
        [
            np.column_stack(
                [inner_right, outer_right, following(outer_right), following(inner_right)]
            ),
            np.column_stack([outer_left, inner_left, following(inner_left), following(outer_left)]),
            np.column_stack(
                [outer_right, outer_left, following(outer_left), following(outer_right)]
            ),
        ]
    )
    return Part(np.concatenate(rings), faces, (slot,) * 24, 0)


def mesh(parts: Iterable[Part]) -> Mesh:
    """Stack ``parts`` into one body."""
    parts = list(parts)
    offsets = np.cumsum([0, *(len(part.corners) for part in parts)])
    corners = np.concatenate([part.corners for part in parts])
    faces = np.concatenate(
        [part.faces + offset for part, offset in zip(parts, offsets, strict=False)]
    )
    diagonal, other = (
        corners[faces[:, 2]] - corners[faces[:, 0]],
        corners[faces[:, 3]] - corners[faces[:, 1]],
    )
    normals = np.cross(diagonal, other)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    extent = 2 * np.abs(corners[:, :2]).max(axis=0)
    return Mesh(
        corners=corners,
        faces=faces,
        normals=normals,
        slots=np.concatenate([part.colours for part in parts]).astype(np.int64),
        part=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        layers=np.array([part.layer for part in parts]),
        centres=np.stack([part.corners.mean(axis=0) for part in parts]),
        footprint=(float(extent[0]), float(extent[1])),
    )
