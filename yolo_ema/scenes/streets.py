"""Straight streets: carriageways, lane markings, pavements and the zones of their traffic, which
keeps to the right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from yolo_ema.scenes.ground import Ground, Rect, Tree, Zone, jitter

LANE = 3.4
CYCLE_LANE = 2.0
PAVEMENT = 4.5


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


def parallel_roads(rng: np.random.Generator, reach: float, *, along_x: bool) -> Iterator[Road]:
    """Yield the streets of one direction, from side to side, one of them near the origin."""
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


@dataclass
class Streets:
    """All streets of a town; they are added to its ground, zones and trees."""

    rng: np.random.Generator
    roads: list[Road]
    ground: Ground
    zones: list[Zone]
    trees: list[Tree]
    reach: float

    def pave(self) -> None:
        """Lay pavements below all carriageways, carriageways below all paint."""
        far = self.reach + 60
        paving = jitter(self.rng, (150, 156, 162))
        asphalt = jitter(self.rng, (98, 96, 94), 14)
        kerb = jitter(self.rng, (186, 190, 192), 4)
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
                jitter(self.rng, (62, 104, 76)),
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
        sign = 1.0 if side < 0 else -1.0
        shaft = [(-2.2, -0.14), (0.4, -0.14), (0.4, 0.14), (-2.2, 0.14)]
        head = [(0.4, -0.5), (2.0, 0.0), (2.0, 0.0), (0.4, 0.5)]
        for shape in (shaft, head):
            corners = [road.place(along + sign * x, across + y) for x, y in shape]
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
