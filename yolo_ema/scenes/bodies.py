"""The bodies of VisDrone's ten classes, and of `others`: shapes in metres, nose along x, and the
colours that they come in.

A body's colours are eight slots: paint, second paint, glass, tyres and dark trim, headlights, tail
lights, skin, light trim.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_ema.constants import OTHERS
from yolo_ema.scenes.meshes import Mesh, Part, box, mesh, sides, taper, wheel

__all__ = ["Body", "body_of", "palette_of", "rider"]

PAINT, SECOND, GLASS, DARK, HEADLIGHT, TAIL_LIGHT, SKIN, TRIM = range(8)

Colour = tuple[int, int, int]  # red, green, blue

_CAR_PAINT: tuple[Colour, ...] = (
    (236, 238, 240),
    (228, 230, 232),
    (190, 194, 198),
    (128, 132, 138),
    (44, 46, 52),
    (30, 32, 36),
    (178, 32, 36),
    (140, 22, 30),
    (36, 70, 132),
    (52, 104, 168),
    (196, 178, 140),
    (60, 92, 74),
)
_VAN_PAINT: tuple[Colour, ...] = (
    (240, 241, 242),
    (232, 232, 226),
    (204, 208, 212),
    (222, 214, 192),
)
_CAB_PAINT: tuple[Colour, ...] = (
    (34, 84, 170),
    (184, 40, 36),
    (226, 228, 230),
    (46, 120, 84),
    (214, 132, 36),
)
_LOAD_PAINT: tuple[Colour, ...] = (
    (126, 112, 92),
    (150, 152, 150),
    (70, 106, 150),
    (196, 120, 50),
    (88, 112, 78),
)
_BUS_PAINT: tuple[Colour, ...] = (
    (58, 152, 86),
    (236, 176, 40),
    (44, 120, 190),
    (206, 62, 48),
    (120, 190, 210),
)
_CANOPY: tuple[Colour, ...] = ((214, 40, 48), (232, 70, 40), (36, 96, 200), (40, 150, 190))
_TRICYCLE_PAINT: tuple[Colour, ...] = ((40, 110, 170), (176, 46, 40), (52, 132, 72))
_MOTOR_PAINT: tuple[Colour, ...] = (
    (176, 30, 34),
    (30, 34, 40),
    (38, 74, 150),
    (222, 222, 224),
    (110, 34, 92),
)
_BICYCLE_PAINT: tuple[Colour, ...] = ((246, 196, 22), (250, 120, 20), (44, 176, 230), (60, 190, 90))
_SHIRT: tuple[Colour, ...] = (
    (222, 52, 60),
    (240, 240, 238),
    (40, 44, 56),
    (60, 110, 190),
    (236, 176, 60),
    (90, 150, 90),
    (214, 120, 160),
    (120, 84, 150),
)
_TROUSERS: tuple[Colour, ...] = ((34, 38, 52), (58, 66, 96), (70, 62, 54), (28, 28, 30))
_HAIR: tuple[Colour, ...] = ((26, 22, 20), (40, 30, 24), (60, 44, 30))
_SKIN: tuple[Colour, ...] = ((226, 180, 146), (196, 148, 112), (140, 98, 70))


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

_PAINTS: dict[int, tuple[tuple[Colour, ...], tuple[Colour, ...]]] = {
    1: (_SHIRT, _TROUSERS),
    2: (_SHIRT, _TROUSERS),
    3: (_BICYCLE_PAINT, _BICYCLE_PAINT),
    4: (_CAR_PAINT, _CAR_PAINT),
    5: (_VAN_PAINT, _VAN_PAINT),
    6: (_CAB_PAINT, _LOAD_PAINT),
    7: (_TRICYCLE_PAINT, ((150, 126, 92), (206, 196, 170), (96, 140, 80), (190, 96, 60))),
    8: (_CANOPY, ((212, 214, 216), (180, 60, 56), (70, 110, 170))),
    9: (_BUS_PAINT, ((238, 240, 240), (226, 230, 222))),
    10: (_MOTOR_PAINT, _MOTOR_PAINT),
    OTHERS: (((240, 168, 20),), ((60, 60, 64),)),
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


def palette_of(category: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (8, 3): blue, green, red of each colour slot, 0 to 255."""
    paints, seconds = _PAINTS[category]

    def pick(colours: tuple[Colour, ...]) -> Colour:
        return colours[int(rng.integers(len(colours)))]

    people = category in {1, 2}
    rgb = np.array(
        [
            pick(paints),
            pick(seconds),
            (40, 52, 64),
            pick(_HAIR) if people else (30, 30, 32),
            (250, 246, 222),
            (190, 22, 22),
            pick(_SKIN),
            (206, 208, 210),
        ],
        float,
    )
    rgb[:2] = np.clip(rgb[:2] * rng.uniform(0.92, 1.06) + rng.uniform(-8, 8, 3), 8, 250)
    if category == 8:
        rgb[7] = (240, 240, 236)
    return rgb[:, ::-1]
