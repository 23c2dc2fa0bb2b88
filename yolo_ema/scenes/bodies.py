"""The bodies of VisDrone's ten classes, and of `others`: shapes in metres, nose along x."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yolo_ema.constants import OTHERS
from yolo_ema.scenes.meshes import Mesh, Part, box, mesh, sides, taper, wheel
from yolo_ema.scenes.paints import DARK, GLASS, HEADLIGHT, PAINT, SECOND, SKIN, TAIL_LIGHT, TRIM


@dataclass(frozen=True)
class Body:
    """A class's shape and the spread of its sizes.

    Attributes:
        category: VisDrone's number.
        mesh: the shape at its nominal size.
        spread: the sizes' relative standard deviation.
    """

    category: int
    mesh: Mesh
    spread: float


def _wheels(front: float, rear: float, track: float, radius: float) -> list[Part]:
    return [
        box((x - radius, x + radius), 0.22, (0, 2 * radius), DARK, y=y)
        for x in (front, rear)
        for y in (-track / 2, track / 2)
    ]


def _lights(
    nose: float, tail: float, spread: float, z: tuple[float, float], layer: int
) -> list[Part]:
    lamps = [
        box((nose - 0.04, nose + 0.03), 0.34, z, HEADLIGHT, layer=layer, y=side * spread / 2)
        for side in (-1, 1)
    ]
    return [
        *lamps,
        *(
            box((tail - 0.03, tail + 0.04), 0.34, z, TAIL_LIGHT, layer=layer, y=side * spread / 2)
            for side in (-1, 1)
        ),
    ]


def _car() -> Mesh:
    return mesh(
        [
            *_wheels(1.35, -1.35, 1.66, 0.32),
            taper((-2.2, 2.2), 1.82, (0.25, 0.82), (-2.12, 2.05, 1.74), PAINT, layer=1),
            *_lights(2.12, -2.17, 1.3, (0.55, 0.72), 2),
            taper(
                (-1.72, 0.98),
                1.66,
                (0.82, 1.36),
                (-1.25, 0.2, 1.4),
                (PAINT, GLASS, GLASS, GLASS, GLASS),
                layer=3,
            ),
            box((-1.2, 0.15), 1.36, (1.36, 1.45), PAINT, layer=4),
        ]
    )


def _van() -> Mesh:
    return mesh(
        [
            *_wheels(1.6, -1.6, 1.8, 0.36),
            box((-2.55, 2.55), 1.96, (0.3, 1.05), PAINT, layer=1),
            *_lights(2.57, -2.57, 1.5, (0.7, 0.9), 2),
            taper(
                (-2.52, 2.45),
                1.94,
                (1.05, 1.75),
                (-2.5, 1.72, 1.86),
                (PAINT, GLASS, GLASS, GLASS, GLASS),
                layer=3,
            ),
            taper((-2.5, 1.72), 1.88, (1.75, 2.15), (-2.4, 1.55, 1.7), PAINT, layer=4),
            *(box((x, x + 0.1), 1.5, (2.15, 2.19), TRIM, layer=5) for x in (-2.0, -1.1, -0.2, 0.7)),
        ]
    )


def _truck() -> Mesh:
    return mesh(
        [
            *_wheels(2.9, -2.4, 2.3, 0.5),
            box((-4.1, 4.0), 2.2, (0.5, 1.0), DARK, layer=1),
            box((-4.2, 1.9), 2.5, (1.0, 3.1), SECOND, layer=2),
            *(
                box((x, x + 0.14), 2.5, (3.1, 3.17), TRIM, layer=4)
                for x in (-4.2, -2.2, -0.2, 1.76)
            ),
            *(
                sides((x, x + 0.14), 2.54, (1.0, 3.17), TRIM, layer=3)
                for x in (-4.2, -2.2, -0.2, 1.76)
            ),
            box((2.2, 4.05), 2.35, (0.6, 1.6), PAINT, layer=2),
            taper(
                (2.2, 4.05),
                2.35,
                (1.6, 2.45),
                (2.25, 3.75, 2.25),
                (PAINT, GLASS, PAINT, GLASS, GLASS),
                layer=3,
            ),
            box((2.25, 3.75), 2.25, (2.45, 2.62), PAINT, layer=4),
            *_lights(4.07, -4.2, 1.8, (0.75, 0.95), 3),
        ]
    )


def _bus() -> Mesh:
    return mesh(
        [
            *_wheels(3.6, -3.3, 2.4, 0.48),
            box((-5.6, 5.6), 2.55, (0.35, 1.35), PAINT, layer=1),
            *_lights(5.62, -5.62, 1.9, (0.7, 0.95), 2),
            box((-5.6, 5.6), 2.55, (1.35, 2.35), (SECOND, GLASS, GLASS, GLASS, GLASS), layer=2),
            *(
                sides((x, x + 0.16), 2.58, (1.35, 2.35), PAINT, layer=3)
                for x in (-5.6, -3.4, -1.2, 1.0, 3.2, 5.2)
            ),
            taper(
                (-5.6, 5.6),
                2.55,
                (2.35, 2.95),
                (-5.45, 5.45, 2.3),
                (SECOND, PAINT, PAINT, PAINT, PAINT),
                layer=4,
            ),
            box((-3.9, -1.9), 1.5, (2.95, 3.2), TRIM, layer=5),
            box((0.9, 2.3), 1.4, (2.95, 3.2), TRIM, layer=5),
            box((3.9, 4.6), 0.8, (2.95, 3.02), DARK, layer=5),
        ]
    )


def _three_wheels() -> list[Part]:
    return [
        box((0.95, 1.5), 0.14, (0, 0.55), DARK),
        *(box((-1.15, -0.6), 0.14, (0, 0.55), DARK, y=y) for y in (-0.55, 0.55)),
    ]


def _tricycle() -> Mesh:
    return mesh(
        [
            *_three_wheels(),
            box((-1.45, 0.15), 1.25, (0.45, 0.55), DARK, layer=1),
            box((-1.45, -1.37), 1.25, (0.55, 0.95), PAINT, layer=2),
            *(box((-1.45, 0.15), 0.08, (0.55, 0.95), PAINT, layer=2, y=y) for y in (-0.6, 0.6)),
            box((0.07, 0.15), 1.25, (0.55, 0.95), PAINT, layer=2),
            taper((-1.2, -0.3), 0.9, (0.55, 1.15), (-1.05, -0.45, 0.7), SECOND, layer=3),
            box((0.15, 0.75), 0.5, (0.4, 0.8), DARK, layer=2),
            taper((0.8, 1.4), 0.5, (0.35, 1.05), (0.85, 1.1, 0.4), PAINT, layer=2),
            box((0.85, 1.0), 0.9, (1.05, 1.15), DARK, layer=3),
        ]
    )


def _awning_tricycle() -> Mesh:
    posts = [
        box((x, x + 0.07), 0.07, (0.9, 1.75), TRIM, layer=3, y=y)
        for x in (-1.3, 1.1)
        for y in (-0.55, 0.55)
    ]
    stripes = [box((x, x + 0.34), 1.42, (1.87, 1.9), TRIM, layer=5) for x in (-1.22, -0.5, 0.22)]
    return mesh(
        [
            *_three_wheels(),
            box((-1.45, 0.7), 1.25, (0.35, 0.9), SECOND, layer=1),
            taper((0.7, 1.5), 1.1, (0.35, 1.0), (0.8, 1.3, 0.9), SECOND, layer=1),
            box((-0.9, 0.2), 1.0, (0.9, 1.15), DARK, layer=2),
            *posts,
            taper((-1.55, 1.35), 1.42, (1.72, 1.87), (-1.5, 1.25, 1.38), PAINT, layer=4),
            *stripes,
        ]
    )


def _motor() -> Mesh:
    return mesh(
        [
            box((0.5, 1.05), 0.16, (0, 0.58), DARK),
            box((-0.95, -0.4), 0.18, (0, 0.58), DARK),
            box((-0.4, 0.5), 0.34, (0.25, 0.45), PAINT, layer=1),
            taper(
                (-0.95, 0.05),
                0.42,
                (0.5, 0.85),
                (-0.85, 0.0, 0.34),
                (DARK, PAINT, PAINT, PAINT, PAINT),
                layer=2,
            ),
            taper((0.35, 0.85), 0.46, (0.35, 1.0), (0.4, 0.6, 0.36), PAINT, layer=2),
            box((0.4, 0.52), 0.75, (1.0, 1.1), DARK, layer=3),
            box((0.78, 0.86), 0.22, (0.7, 0.88), HEADLIGHT, layer=3),
            box((-0.99, -0.92), 0.22, (0.6, 0.72), TAIL_LIGHT, layer=3),
        ]
    )


def _bicycle() -> Mesh:
    def tube(x0: float, z0: float, x1: float, z1: float) -> Part:
        corners = np.array(
            [
                [x, y, z]
                for y in (-0.05, 0.05)
                for x, z in ((x0, z0), (x1, z1), (x1, z1 + 0.13), (x0, z0 + 0.13))
            ]
        )
        return Part(corners, np.array([[0, 1, 2, 3], [7, 6, 5, 4], [3, 2, 6, 7]]), (PAINT,) * 3, 1)

    return mesh(
        [
            wheel(0.56, 0.0, 0.36, DARK),
            wheel(-0.56, 0.0, 0.36, DARK),
            tube(-0.56, 0.34, 0.0, 0.3),
            tube(0.0, 0.3, 0.45, 0.75),
            tube(-0.2, 0.72, 0.42, 0.78),
            tube(-0.56, 0.34, -0.2, 0.78),
            tube(0.36, 0.9, 0.6, 0.3),
            box((-0.36, -0.06), 0.2, (0.88, 0.98), DARK, layer=2),
            box((0.34, 0.46), 0.62, (0.98, 1.06), TRIM, layer=2),
            box((0.44, 0.78), 0.36, (0.72, 0.92), PAINT, layer=3),
            box((-0.86, -0.4), 0.16, (0.74, 0.8), PAINT, layer=2),
        ]
    )


def _pedestrian() -> Mesh:
    return mesh(
        [
            box((-0.05, 0.17), 0.17, (0, 0.85), SECOND, y=0.1),
            box((-0.17, 0.05), 0.17, (0, 0.85), SECOND, y=-0.1),
            taper((-0.15, 0.15), 0.4, (0.82, 1.48), (-0.14, 0.14, 0.5), PAINT, layer=1),
            box((-0.02, 0.16), 0.12, (0.8, 1.4), PAINT, layer=1, y=0.3),
            box((-0.16, 0.02), 0.12, (0.8, 1.4), PAINT, layer=1, y=-0.3),
            box((-0.11, 0.12), 0.22, (1.48, 1.74), (DARK, SKIN, DARK, DARK, DARK), layer=2),
        ]
    )


def _seated(seat: float) -> Mesh:
    return mesh(
        [
            *(box((0.42, 0.56), 0.16, (seat - 0.42, seat), SECOND, y=y) for y in (-0.14, 0.14)),
            *(
                box((-0.1, 0.56), 0.19, (seat, seat + 0.18), SECOND, layer=1, y=y)
                for y in (-0.14, 0.14)
            ),
            taper(
                (-0.24, 0.1), 0.46, (seat + 0.02, seat + 0.62), (-0.18, 0.1, 0.54), PAINT, layer=2
            ),
            *(
                box((0.0, 0.5), 0.12, (seat + 0.36, seat + 0.5), PAINT, layer=3, y=y)
                for y in (-0.28, 0.28)
            ),
            box(
                (-0.15, 0.1),
                0.24,
                (seat + 0.62, seat + 0.9),
                (DARK, SKIN, DARK, DARK, DARK),
                layer=4,
            ),
        ]
    )


def _others() -> Mesh:
    """Return a fork lift: one of the things on wheels that VisDrone calls `others`."""
    return mesh(
        [
            *_wheels(0.7, -0.8, 1.1, 0.3),
            box((-1.3, 0.9), 1.1, (0.3, 0.95), PAINT, layer=1),
            box((-0.5, 0.3), 0.6, (0.95, 1.3), DARK, layer=2),
            *(
                box((x, x + 0.09), 0.09, (0.95, 2.05), DARK, layer=3, y=y)
                for x in (-0.9, 0.6)
                for y in (-0.45, 0.45)
            ),
            *(box((0.95, 2.0), 0.14, (0.05, 0.14), DARK, y=y) for y in (-0.3, 0.3)),
            *(box((0.92, 1.04), 0.1, (0.1, 2.3), SECOND, layer=3, y=y) for y in (-0.4, 0.4)),
            box((-0.95, 0.7), 1.05, (2.05, 2.14), DARK, layer=4),
        ]
    )


_SHAPES: dict[int, tuple[Callable[[], Mesh], float]] = {
    1: (_pedestrian, 0.06),
    2: (lambda: _seated(0.45), 0.06),
    3: (_bicycle, 0.04),
    4: (_car, 0.06),
    5: (_van, 0.05),
    6: (_truck, 0.12),
    7: (_tricycle, 0.06),
    8: (_awning_tricycle, 0.06),
    9: (_bus, 0.08),
    10: (_motor, 0.05),
    OTHERS: (_others, 0.05),
}


@functools.cache
def body_of(category: int) -> Body:
    """Return the body of a VisDrone category (1-10), or of `others` (11)."""
    shape, spread = _SHAPES[category]
    return Body(category, shape(), spread)


@functools.cache
def rider(seat: float) -> Body:
    """Return someone (category 2, people) who sits ``seat`` metres above the ground."""
    return Body(2, _seated(seat), 0.04)
