"""What a town is made of: its ground as coloured quadrilaterals, the zones for things to stand in,
trees and houses.
All lengths are metres, all angles radians counter-clockwise from east.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]  # blue, green, red
Point = tuple[float, float]  # x, y
Rect = tuple[float, float, float, float]  # x0, y0, x1, y1

PIECE = 15.0
"""Largest side of a piece of an area, so that one that reaches behind the lens is not seen."""

MATERIALS = ("asphalt", "paving", "grass", "paint", "tiles", "soil")


@dataclass(frozen=True)
class Zone:
    """Where things of some kind may stand.

    Attributes:
        kind: lane, cycle, pavement, crossing, plaza, park or bay.
        rect: its extent.
        headings: the directions that things in it may face; empty for any.
        moving: whether things in it move along their heading.
        snap: bays' width along the row, 0 elsewhere.
        busy: a crossing over a street whose traffic has its turn.
    """

    kind: str
    rect: Rect
    headings: tuple[float, ...] = ()
    moving: bool = False
    snap: float = 0.0
    busy: bool = False


@dataclass(frozen=True)
class Tree:
    """A tree: puffs of leaves around a point."""

    position: tuple[float, float]
    height: float
    radius: float
    hue: float
    seed: int


@dataclass(frozen=True)
class House:
    """A house with a flat or a tiled roof."""

    rect: Rect
    height: float
    wall: Colour
    roof: Colour
    seed: int


@dataclass
class Ground:
    """Quadrilaterals in the order of painting; what lies outside ``window`` is left out."""

    window: Rect
    quads: list[Sequence[Point]] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)

    def quad(self, corners: Sequence[Point], colour: Colour, material: str) -> None:
        """Add one quadrilateral of four corners."""
        self.quads.append(corners)
        self.colours.append(colour)
        self.materials.append(MATERIALS.index(material))

    def rect(self, rect: Rect, colour: Colour, material: str) -> None:
        """Add a rectangle, cut into pieces."""
        x0, y0 = max(rect[0], self.window[0]), max(rect[1], self.window[1])
        x1, y1 = min(rect[2], self.window[2]), min(rect[3], self.window[3])
        if x1 <= x0 or y1 <= y0:
            return
        if x1 - x0 <= PIECE and y1 - y0 <= PIECE:
            self.quad(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour, material)
            return
        xs = np.linspace(x0, x1, math.ceil((x1 - x0) / PIECE) + 1).tolist()
        ys = np.linspace(y0, y1, math.ceil((y1 - y0) / PIECE) + 1).tolist()
        for left, right in itertools.pairwise(xs):
            for low, high in itertools.pairwise(ys):
                self.quad(
                    ((left, low), (right, low), (right, high), (left, high)), colour, material
                )

    def ring(
        self, centre: tuple[float, float], radii: tuple[float, float], colour: Colour, material: str
    ) -> None:
        """Add a ring around ``centre`` between two radii; an inner radius of 0 gives a disc."""
        x0, y0, x1, y1 = self.window
        if not (
            x0 < centre[0] + radii[1]
            and centre[0] - radii[1] < x1
            and y0 < centre[1] + radii[1]
            and centre[1] - radii[1] < y1
        ):
            return
        angles = np.linspace(0, 2 * np.pi, 29)
        circle = np.column_stack([np.cos(angles), np.sin(angles)])
        inner, outer = circle * radii[0] + centre, circle * radii[1] + centre
        corners = np.stack([inner[:-1], outer[:-1], outer[1:], inner[1:]], axis=1)  # (28, 4, 2)
        for quad in corners.tolist():
            self.quad(quad, colour, material)

    def stacked(self) -> tuple[Array, Array, NDArray[np.int64]]:
        """Return all corners (Q, 4, 2), colours (Q, 3) and indices into `MATERIALS` (Q,)."""
        return np.array(self.quads, float), np.array(self.colours), np.array(self.materials)


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 8.0) -> Colour:
    """Return ``colour`` a little lighter or darker, and a very little warmer or cooler."""
    tone, warmth = float(rng.uniform(-spread, spread)), float(rng.uniform(-0.3, 0.3)) * spread
    blue, green, red = (
        min(max(value + tone + share * warmth, 0.0), 255.0)
        for value, share in zip(colour, (-1, 0, 1), strict=True)
    )
    return blue, green, red
