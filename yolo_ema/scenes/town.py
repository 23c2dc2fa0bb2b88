"""A town of straight streets: its ground as coloured quadrilaterals, the zones that things stand
in, its trees and houses.

Traffic keeps to the right. All lengths are metres, all angles radians counter-clockwise from east.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["MATERIALS", "Ground", "House", "Rect", "Road", "Town", "Tree", "Zone", "build_town"]

Array = NDArray[np.float64]
Colour = tuple[float, float, float]  # blue, green, red
Point = tuple[float, float]  # x, y
Rect = tuple[float, float, float, float]  # x0, y0, x1, y1

LANE = 3.4
CYCLE_LANE = 2.0
PAVEMENT = 4.5
PIECE = 15.0
"""Large areas are cut into pieces of at most this side, so that one which reaches behind the lens
is never in view.
"""

MATERIALS = ("asphalt", "paving", "grass", "paint", "tiles", "soil")


@dataclass(frozen=True)
class Road:
    """A straight street along x (angle 0) or along y (angle pi/2)."""

    along_x: bool
    offset: float
    lanes: int
    median: float

    @property
    def half(self) -> float:
        """Return half the carriageway's width, metres."""
        return self.lanes * LANE + self.median / 2 + CYCLE_LANE

    @property
    def envelope(self) -> float:
        """Return half the width with pavements, metres."""
        return self.half + PAVEMENT

    def place(self, along: float, across: float) -> tuple[float, float]:
        """Return world x and y of a point ``along`` the street and ``across`` to the left of its
        middle.
        """
        return (along, self.offset + across) if self.along_x else (self.offset - across, along)

    def rect(self, along: tuple[float, float], across: tuple[float, float]) -> Rect:
        """Return the rectangle between two points of the street, ordered."""
        (x0, y0), (x1, y1) = self.place(along[0], across[0]), self.place(along[1], across[1])
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    @property
    def angle(self) -> float:
        """Return the street's direction."""
        return 0.0 if self.along_x else math.pi / 2


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


@dataclass(frozen=True)
class Town:
    """All that does not move."""

    ground: Ground
    zones: tuple[Zone, ...]
    trees: tuple[Tree, ...]
    houses: tuple[House, ...]
    base: Colour


def build_town(rng: np.random.Generator, window: Rect) -> Town:
    """Return a town with a junction near the origin, its ground laid within ``window``."""
    reach = max(map(abs, window)) + 25
    roads = [
        *_parallel_roads(rng, reach, along_x=True),
        *_parallel_roads(rng, reach, along_x=False),
    ]
    ground = Ground(window)
    zones: list[Zone] = []
    trees: list[Tree] = []
    houses: list[House] = []
    for rect in _blocks(roads, reach):
        _Block(rng, rect, ground, zones, trees, houses).furnish()
    _Streets(rng, roads, ground, zones, trees, reach).pave()
    return Town(ground, tuple(zones), tuple(trees), tuple(houses), _jitter(rng, (96, 132, 112)))


def _jitter(rng: np.random.Generator, colour: Colour, spread: float = 8.0) -> Colour:
    """Return ``colour`` a little lighter or darker, and a very little warmer or cooler."""
    tone, warmth = float(rng.uniform(-spread, spread)), float(rng.uniform(-0.3, 0.3)) * spread
    blue, green, red = (
        min(max(value + tone + share * warmth, 0.0), 255.0)
        for value, share in zip(colour, (-1, 0, 1), strict=True)
    )
    return blue, green, red


def _parallel_roads(rng: np.random.Generator, reach: float, *, along_x: bool) -> Iterator[Road]:
    first = float(rng.uniform(-6, 6))
    offsets = [first]
    for sign in (-1, 1):
        offset = first
        while abs(offset) < reach:
            offset += sign * float(rng.uniform(70, 120))
            offsets.append(offset)
    for offset in sorted(offsets):
        main = offset == first and along_x
        lanes = int(rng.integers(2, 4)) if main else int(rng.integers(1, 3))
        yield Road(along_x, offset, lanes, float(rng.choice([0.0, 1.6, 3.0])) if lanes > 1 else 0.0)


def _blocks(roads: list[Road], reach: float) -> Iterator[Rect]:
    rows = [road for road in roads if road.along_x]
    columns = [road for road in roads if not road.along_x]
    far = reach + 60

    def gaps(lines: list[Road]) -> list[tuple[float, float]]:
        edges = [
            -far,
            *(
                edge
                for road in lines
                for edge in (road.offset - road.envelope, road.offset + road.envelope)
            ),
            far,
        ]
        return [
            (low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if high - low > 4
        ]

    for x0, x1 in gaps(columns):
        for y0, y1 in gaps(rows):
            yield x0, y0, x1, y1


@dataclass
class _Streets:
    rng: np.random.Generator
    roads: list[Road]
    ground: Ground
    zones: list[Zone]
    trees: list[Tree]
    reach: float

    def pave(self) -> None:
        """Lay pavements below all carriageways, carriageways below all paint."""
        far = self.reach + 60
        paving = _jitter(self.rng, (150, 156, 162))
        asphalt = _jitter(self.rng, (98, 96, 94), 14)
        kerb = _jitter(self.rng, (186, 190, 192), 4)
        for road in self.roads:
            self.ground.rect(
                road.rect((-far, far), (-road.envelope, road.envelope)), paving, "paving"
            )
            for side in (-1, 1):
                self.ground.rect(
                    road.rect((-far, far), (side * road.half, side * (road.half + 0.35))),
                    kerb,
                    "paint",
                )
        for road in self.roads:
            self.ground.rect(road.rect((-far, far), (-road.half, road.half)), asphalt, "asphalt")
        for road in self.roads:
            self._furnish(road, far)

    def _crossings(self, road: Road) -> list[tuple[float, float]]:
        """Return the middle and the half width of each street that crosses ``road``."""
        return sorted(
            (other.offset, other.half) for other in self.roads if other.along_x != road.along_x
        )

    def _furnish(self, road: Road, far: float) -> None:
        crossings = self._crossings(road)
        if road.along_x:
            for middle, half in crossings:
                self._traffic_zones(road, middle - half, middle + half)
        edges = [
            -far,
            *(edge for middle, half in crossings for edge in (middle - half, middle + half)),
            far,
        ]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start < 24:
                continue
            self._lines(road, start + 6.0, end - 6.0)
            self._traffic_zones(road, start + 6.0, end - 6.0)
            self._pavement(road, start + PAVEMENT + 1, end - PAVEMENT - 1)
            for at, stop in ((start + 1.2, start + 5.4), (end - 4.2, end - 5.8)):
                self._zebra(road, at, stop, entering=at > stop)

    def _lines(self, road: Road, start: float, end: float) -> None:
        white, yellow = (222.0, 226.0, 228.0), (60.0, 176.0, 222.0)
        paint = self.ground.rect
        if road.median:
            self.ground.rect(
                road.rect((start, end), (-road.median / 2, road.median / 2)),
                _jitter(self.rng, (62, 104, 76)),
                "grass",
            )
            for side in (-1, 1):
                paint(
                    road.rect(
                        (start, end), (side * road.median / 2, side * (road.median / 2 + 0.25))
                    ),
                    (190, 194, 196),
                    "paint",
                )
            for along in np.arange(start + 2, end - 2, 4.0):
                if self.rng.random() < 0.6:
                    self._tree(road.place(float(along), 0.0), 1.4, 0.9)
        else:
            for side in (-1, 1):
                paint(road.rect((start, end), (side * 0.12, side * 0.3)), yellow, "paint")
        for side in (-1, 1):
            edge = road.median / 2 + road.lanes * LANE
            paint(road.rect((start, end), (side * edge, side * (edge + 0.2))), white, "paint")
            for lane in range(1, road.lanes):
                across = side * (road.median / 2 + lane * LANE)
                for along in np.arange(start, end, 7.5):
                    paint(
                        road.rect((along, min(along + 3.5, end)), (across - 0.1, across + 0.1)),
                        white,
                        "paint",
                    )
            for lane in range(road.lanes):
                self._arrow(road, side, lane, end - 7 if side < 0 else start + 7)

    def _arrow(self, road: Road, side: int, lane: int, along: float) -> None:
        """Paint the arrow of a lane that leads to a junction."""
        across = side * (road.median / 2 + (lane + 0.5) * LANE)
        way = 1.0 if side < 0 else -1.0
        shaft = [(-2.2, -0.14), (0.4, -0.14), (0.4, 0.14), (-2.2, 0.14)]
        head = [(0.4, -0.5), (2.0, 0.0), (2.0, 0.0), (0.4, 0.5)]
        for shape in (shaft, head):
            corners = [road.place(along + way * x, across + y) for x, y in shape]
            self.ground.quad(corners, (214, 218, 220), "paint")

    def _zebra(self, road: Road, at: float, stop: float, *, entering: bool) -> None:
        for across in np.arange(-road.half + 0.5, road.half - 0.4, 1.1):
            self.ground.rect(
                road.rect((at, at + 3.0), (across, across + 0.55)), (226, 229, 231), "paint"
            )
        side = -1 if entering else 1
        line = (side * (road.median / 2 + 0.2), side * (road.median / 2 + road.lanes * LANE))
        self.ground.rect(road.rect((stop, stop + 0.4), line), (226, 229, 231), "paint")
        walk = road.angle + math.pi / 2
        rect = road.rect((at, at + 3.0), (-road.half, road.half))
        self.zones.append(
            Zone("crossing", rect, (walk, walk + math.pi), moving=True, busy=road.along_x)
        )

    def _traffic_zones(self, road: Road, start: float, end: float) -> None:
        """Add the lanes between two points. Traffic along x has its turn; along y it waits."""
        for side in (-1, 1):
            heading = (road.angle if side < 0 else road.angle + math.pi,)
            for lane in range(road.lanes):
                middle = side * (road.median / 2 + (lane + 0.5) * LANE)
                self.zones.append(
                    Zone(
                        "lane",
                        road.rect((start, end), (middle - 0.35, middle + 0.35)),
                        heading,
                        road.along_x,
                    )
                )
            middle = side * (road.half - CYCLE_LANE / 2)
            self.zones.append(
                Zone(
                    "cycle",
                    road.rect((start, end), (middle - 0.4, middle + 0.4)),
                    heading,
                    road.along_x,
                )
            )

    def _pavement(self, road: Road, start: float, end: float) -> None:
        spacing = float(self.rng.uniform(9, 15))
        lined = self.rng.random() < 0.75
        for side in (-1, 1):
            inner, outer = road.half + 0.8, road.envelope - 0.6
            directions = (road.angle, road.angle + math.pi)
            self.zones.append(
                Zone(
                    "pavement",
                    road.rect((start, end), (side * inner, side * outer)),
                    directions,
                    moving=True,
                )
            )
            if not lined:
                continue
            for along in np.arange(start + 3, end - 3, spacing):
                if self.rng.random() < 0.6:
                    self._tree(
                        road.place(float(along), side * (road.half + PAVEMENT - 0.4)), 5.5, 2.2
                    )

    def _tree(self, position: tuple[float, float], height: float, radius: float) -> None:
        rng = self.rng
        growth = float(rng.uniform(0.8, 1.2))
        self.trees.append(
            Tree(
                position,
                height * growth,
                radius * growth,
                float(rng.uniform(-1, 1)),
                int(rng.integers(2**31)),
            )
        )


@dataclass
class _Block:
    rng: np.random.Generator
    rect: Rect
    ground: Ground
    zones: list[Zone]
    trees: list[Tree]
    houses: list[House]

    def furnish(self) -> None:
        """Fill the block with one of its uses; a sliver is paved."""
        x0, y0, x1, y1 = self.rect
        if min(x1 - x0, y1 - y0) < 24:
            self.ground.rect(self.rect, _jitter(self.rng, (142, 148, 152)), "paving")
            return
        uses = (self._park, self._plaza, self._parking, self._houses, self._quarters)
        uses[int(self.rng.choice(len(uses), p=[0.2, 0.25, 0.25, 0.15, 0.15]))](self.rect)

    def _inset(self, rect: Rect, margin: float) -> Rect:
        x0, y0, x1, y1 = rect
        return x0 + margin, y0 + margin, x1 - margin, y1 - margin

    def _quarters(self, rect: Rect) -> None:
        """Split the block, so that one picture holds several uses."""
        x0, y0, x1, y1 = rect
        x, y = (
            x0 + (x1 - x0) * float(self.rng.uniform(0.4, 0.6)),
            y0 + (y1 - y0) * float(self.rng.uniform(0.4, 0.6)),
        )
        uses = [self._park, self._plaza, self._parking, self._houses]
        for index, piece in zip(
            self.rng.permutation(4),
            ((x0, y0, x, y), (x, y0, x1, y), (x0, y, x, y1), (x, y, x1, y1)),
            strict=True,
        ):
            uses[int(index)](piece)

    def _park(self, rect: Rect) -> None:
        x0, y0, x1, y1 = rect
        self.ground.rect(rect, _jitter(self.rng, (70, 124, 92), 12), "grass")
        path = _jitter(self.rng, (140, 168, 184))
        middle_x, middle_y = float(self.rng.uniform(x0, x1)), float(self.rng.uniform(y0, y1))
        for strip, heading in (
            ((x0, middle_y - 1.6, x1, middle_y + 1.6), 0.0),
            ((middle_x - 1.6, y0, middle_x + 1.6, y1), math.pi / 2),
        ):
            self.ground.rect(strip, path, "soil")
            self.zones.append(Zone("park", strip, (heading, heading + math.pi), moving=True))
        self._grove(rect, share=float(self.rng.uniform(0.002, 0.007)))

    def _grove(self, rect: Rect, share: float) -> None:
        x0, y0, x1, y1 = rect
        for _ in range(int((x1 - x0) * (y1 - y0) * share)):
            position = (
                float(self.rng.uniform(x0 + 2, x1 - 2)),
                float(self.rng.uniform(y0 + 2, y1 - 2)),
            )
            height = float(self.rng.uniform(4, 8))
            self.trees.append(
                Tree(
                    position,
                    height,
                    0.42 * height,
                    float(self.rng.uniform(-1, 1)),
                    int(self.rng.integers(2**31)),
                )
            )

    def _plaza(self, rect: Rect) -> None:
        x0, y0, x1, y1 = rect
        tiles = _jitter(self.rng, (158, 168, 178), 12)
        band = _jitter(self.rng, (112, 122, 160), 12)
        self.ground.rect(rect, tiles, "tiles")
        if self.rng.random() < 0.5:
            centre = ((x0 + x1) / 2, (y0 + y1) / 2)
            for radius in np.arange(4.0, min(x1 - x0, y1 - y0) / 2 - 1, 5.0):
                self.ground.ring(centre, (radius, radius + 1.0), band, "tiles")
        else:
            for x in np.arange(x0 + 4, x1 - 1, 7.0):
                self.ground.rect((x, y0, x + 0.6, y1), band, "tiles")
            for y in np.arange(y0 + 4, y1 - 1, 7.0):
                self.ground.rect((x0, y, x1, y + 0.6), band, "tiles")
        for _ in range(int((x1 - x0) * (y1 - y0) / 700)):
            spot = float(self.rng.uniform(x0 + 4, x1 - 4)), float(self.rng.uniform(y0 + 4, y1 - 4))
            self.ground.ring(spot, (0.0, 2.4), (176, 182, 188), "paint")
            self.ground.ring(spot, (0.0, 2.0), _jitter(self.rng, (66, 112, 84)), "grass")
            self.trees.append(
                Tree(spot, 3.4, 1.5, float(self.rng.uniform(-1, 1)), int(self.rng.integers(2**31)))
            )
        self.zones.append(Zone("plaza", self._inset(rect, 1.5)))

    def _parking(self, rect: Rect) -> None:
        x0, y0, x1, y1 = self._inset(rect, 2.0)
        self.ground.rect(rect, _jitter(self.rng, (116, 116, 114), 10), "asphalt")
        bay, depth, lane = 2.9, 5.6, 7.0
        white = (214.0, 218.0, 220.0)
        for row in np.arange(y0, y1 - 2 * depth - lane / 2, 2 * depth + lane):
            for low in (row, row + depth):
                for x in np.arange(x0, x1 + 0.01, bay):
                    self.ground.rect((x - 0.08, low, x + 0.08, low + depth), white, "paint")
                strip = (x0 + bay / 2, low + depth / 2 - 0.2, x1 - bay / 2, low + depth / 2 + 0.2)
                self.zones.append(Zone("bay", strip, (math.pi / 2, -math.pi / 2), snap=bay))
            self.ground.rect((x0, row + depth - 0.08, x1, row + depth + 0.08), white, "paint")

    def _houses(self, rect: Rect) -> None:
        x0, y0, x1, y1 = rect
        self.ground.rect(rect, _jitter(self.rng, (138, 146, 150), 10), "paving")
        walls = (
            (176, 190, 204),
            (150, 168, 190),
            (196, 202, 206),
            (128, 146, 176),
            (168, 176, 180),
        )
        roofs = (
            (70, 78, 140),
            (150, 152, 154),
            (168, 128, 92),
            (122, 128, 132),
            (84, 96, 150),
            (176, 178, 178),
        )
        step = float(self.rng.uniform(22, 32))
        for x in np.arange(x0 + 5, x1 - 14, step):
            for y in np.arange(y0 + 5, y1 - 12, step):
                if self.rng.random() < 0.25:
                    self._grove((x, y, min(x + step, x1), min(y + step, y1)), 0.008)
                    continue
                size = self.rng.uniform(0.5, 0.75, 2) * step
                body = (
                    float(x),
                    float(y),
                    float(min(x + size[0], x1 - 4)),
                    float(min(y + size[1], y1 - 4)),
                )
                wall, roof = (
                    _jitter(self.rng, colours[int(self.rng.integers(len(colours)))])
                    for colours in (walls, roofs)
                )
                self.houses.append(
                    House(
                        body,
                        float(self.rng.uniform(3.5, 9)),
                        wall,
                        roof,
                        int(self.rng.integers(2**31)),
                    )
                )
