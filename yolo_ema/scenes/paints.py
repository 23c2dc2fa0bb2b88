"""The colours that things come in.

A body's colours are eight slots: paint, second paint, glass, tyres and dark trim, headlights, tail
lights, skin, light trim.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_ema.constants import OTHERS

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
