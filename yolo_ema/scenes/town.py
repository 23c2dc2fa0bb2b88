"""A town of straight streets, with parks, plazas, car parks and houses between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from yolo_ema.scenes.ground import Colour, Ground, House, Rect, Tree, Zone, jitter
from yolo_ema.scenes.streets import Road, Streets, parallel_roads


@dataclass(frozen=True)
class Town:
    """Everything that does not move."""

    ground: Ground
    zones: tuple[Zone, ...]
    trees: tuple[Tree, ...]
    houses: tuple[House, ...]
    base: Colour


def build_town(rng: np.random.Generator, window: Rect) -> Town:
    """Return a town with a junction near the origin, its ground laid within ``window``."""
    reach = max(map(abs, window)) + 25
    roads = [
        *parallel_roads(rng, reach, along_x=True),
        *parallel_roads(rng, reach, along_x=False),
    ]
    ground = Ground(window)
    zones: list[Zone] = []
    trees: list[Tree] = []
    houses: list[House] = []
    for rect in _blocks(roads, reach):
        _Block(rng, rect, ground, zones, trees, houses).furnish()
    Streets(rng, roads, ground, zones, trees, reach).pave()
    return Town(ground, tuple(zones), tuple(trees), tuple(houses), jitter(rng, (96, 132, 112)))


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
            self.ground.rect(self.rect, jitter(self.rng, (142, 148, 152)), "paving")
            return
        uses = (self._park, self._plaza, self._parking, self._houses, self._quarters)
        uses[int(self.rng.choice(len(uses), p=[0.2, 0.25, 0.25, 0.15, 0.15]))](self.rect)

    def _inset(self, rect: Rect, margin: float) -> Rect:
        x0, y0, x1, y1 = rect
        return x0 + margin, y0 + margin, x1 - margin, y1 - margin

    def _quarters(self, rect: Rect) -> None:
        """Split the block, so that an image shows several uses."""
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
        self.ground.rect(rect, jitter(self.rng, (70, 124, 92), 12), "grass")
        path = jitter(self.rng, (140, 168, 184))
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
        tiles = jitter(self.rng, (158, 168, 178), 12)
        band = jitter(self.rng, (112, 122, 160), 12)
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
            self.ground.ring(spot, (0.0, 2.0), jitter(self.rng, (66, 112, 84)), "grass")
            self.trees.append(
                Tree(spot, 3.4, 1.5, float(self.rng.uniform(-1, 1)), int(self.rng.integers(2**31)))
            )
        self.zones.append(Zone("plaza", self._inset(rect, 1.5)))

    def _parking(self, rect: Rect) -> None:
        x0, y0, x1, y1 = self._inset(rect, 2.0)
        self.ground.rect(rect, jitter(self.rng, (116, 116, 114), 10), "asphalt")
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
        self.ground.rect(rect, jitter(self.rng, (138, 146, 150), 10), "paving")
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
                    jitter(self.rng, colours[int(self.rng.integers(len(colours)))])
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
