"""Who is where: objects of all classes placed in a town's zones without overlapping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from yolo_ema.constants import OTHERS
from yolo_ema.scenes.actors import Actor
from yolo_ema.scenes.bodies import Body, body_of, rider
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.ground import Rect, Zone
from yolo_ema.scenes.paints import palette_of
from yolo_ema.scenes.town import Town

Array = NDArray[np.float64]

CLASS_MIX = {
    1: 0.22,
    2: 0.10,
    3: 0.08,
    4: 0.25,
    5: 0.08,
    6: 0.055,
    7: 0.06,
    8: 0.05,
    9: 0.035,
    10: 0.065,
    OTHERS: 0.005,
}
"""Shares of the classes. VisDrone's own mix is steeper: its rarest class, the bus, is one object in
150. Here even a few hundred images hold enough of each class to learn it. Riders are added on top.
"""

_HAUNTS = {
    1: {"pavement": 0.5, "crossing": 0.2, "plaza": 0.2, "park": 0.1},
    2: {"plaza": 0.6, "pavement": 0.4},
    3: {"cycle": 0.5, "pavement": 0.4, "crossing": 0.1},
    4: {"lane": 0.6, "bay": 0.4},
    5: {"lane": 0.6, "bay": 0.4},
    6: {"lane": 1.0},
    7: {"cycle": 0.6, "pavement": 0.2, "plaza": 0.2},
    8: {"cycle": 0.5, "pavement": 0.2, "plaza": 0.3},
    9: {"lane": 1.0},
    10: {"cycle": 0.5, "pavement": 0.4, "crossing": 0.1},
    OTHERS: {"plaza": 0.5, "bay": 0.5},
}

_SPEEDS = {
    "lane": (6.0, 11.0),
    "cycle": (2.5, 5.0),
    "pavement": (0.8, 1.6),
    "crossing": (0.9, 1.5),
    "park": (0.7, 1.5),
    "plaza": (0.6, 1.4),
}
_RIDDEN = {3: (0.5, 0.86, -0.12), 10: (0.6, 0.84, -0.2), 7: (0.5, 0.8, 0.4)}
"""Category: share with a rider, height of the seat and its place along the body, metres."""


@dataclass
class Population:
    """Fills a town within what a camera sees."""

    town: Town
    camera: Camera
    rng: np.random.Generator
    actors: list[Actor] = field(default_factory=list)
    _occupied: list[Rect] = field(default_factory=list)
    _lane_speeds: dict[int, float] = field(default_factory=dict)

    def settle(self, count: int, *, tries: int = 12) -> None:
        """Add up to ``count`` objects, if there is room, and riders to what is ridden."""
        categories = np.array(list(CLASS_MIX))
        shares = np.array(list(CLASS_MIX.values()))
        window = self._window()
        zones = self._zones_in(window)
        for category in self.rng.choice(categories, count, p=shares / shares.sum()):
            for _ in range(tries):
                zone = self._zone_for(int(category), zones)
                if zone is None:
                    break
                actor = self._in_zone(body_of(int(category)), *zone)
                if self._sees(actor.position) and self._claim(actor):
                    self.actors.append(actor)
                    self._mount(actor)
                    break

    def crowd(self, count: int) -> None:
        """Place ``count`` small objects, which are not counted one by one, close together in a far
        corner of the image.
        """
        zones = [
            (zone, rect)
            for zone, rect in self._zones_in(self._window())
            if zone.kind in {"plaza", "pavement", "bay"}
        ]
        if not zones:
            return
        best = None
        for _ in range(30):
            rect = zones[int(self.rng.integers(len(zones)))][1]
            spot = self._point_in(rect)
            pixel = self.camera.project(np.array([[*spot, 0.0]]))[0][0] / self.camera.image_wh
            if 0.08 < pixel[0] < 0.92 and pixel[1] > 0.04 and (best is None or pixel[1] < best[0]):
                best = float(pixel[1]), spot
        if best is None or best[0] > 0.35:
            return
        across = 0.16 * math.sqrt(count) * 2.2
        for _ in range(count):
            category = int(self.rng.choice([1, 2, 3, 10], p=[0.5, 0.2, 0.15, 0.15]))
            x, y = self.rng.uniform(-1, 1, 2) * (2.4 * across, across)
            actor = self._actor(
                body_of(category),
                (best[1][0] + float(x), best[1][1] + float(y)),
                float(self.rng.uniform(0, 2 * math.pi)),
            )
            if self._claim(actor):
                self.actors.append(actor)

    def number(self, limit: int) -> list[Actor]:
        """Return the actors: those outside crowds numbered from 1, at most ``limit`` of them."""
        numbered = [actor for actor in self.actors if actor.identity]
        crowd = [actor for actor in self.actors if not actor.identity]
        return [
            *(replace(actor, identity=1 + index) for index, actor in enumerate(numbered[:limit])),
            *crowd,
        ]

    def _window(self) -> tuple[Array, Array]:
        corners = self.camera.visible_ground()
        return corners.min(axis=0), corners.max(axis=0)

    def _zones_in(self, window: tuple[Array, Array]) -> list[tuple[Zone, Rect]]:
        """Return the zones that meet the window, each with its part inside."""
        zones = []
        for zone in self.town.zones:
            x0, y0 = np.maximum(zone.rect[:2], window[0])
            x1, y1 = np.minimum(zone.rect[2:], window[1])
            if x1 > x0 and y1 > y0:
                zones.append((zone, (float(x0), float(y0), float(x1), float(y1))))
        return zones

    def _zone_for(
        self, category: int, zones: Sequence[tuple[Zone, Rect]]
    ) -> tuple[Zone, Rect] | None:
        """Choose a zone: first its kind by the class's habits, then one of that kind by its longer
        side.
        """
        haunts = {
            kind: share
            for kind, share in _HAUNTS[category].items()
            if any(zone.kind == kind for zone, _ in zones)
        }
        if not haunts:
            return None
        shares = np.array(list(haunts.values()))
        kind = list(haunts)[int(self.rng.choice(len(haunts), p=shares / shares.sum()))]
        fitting = [entry for entry in zones if entry[0].kind == kind]
        lengths = np.array([max(rect[2] - rect[0], rect[3] - rect[1]) for _, rect in fitting])
        return fitting[int(self.rng.choice(len(fitting), p=lengths / lengths.sum()))]

    def _point_in(self, rect: Rect) -> tuple[float, float]:
        return float(self.rng.uniform(rect[0], rect[2])), float(self.rng.uniform(rect[1], rect[3]))

    def _in_zone(self, body: Body, zone: Zone, rect: Rect) -> Actor:
        x, y = self._point_in(rect)
        if zone.snap:
            x = zone.rect[0] + zone.snap * round((x - zone.rect[0]) / zone.snap)
        walker = body.category == 1
        roams = zone.kind == "plaza" or (zone.kind == "pavement" and not walker)
        if roams or not zone.headings:
            heading = float(self.rng.uniform(0, 2 * math.pi))
        else:
            heading = zone.headings[int(self.rng.integers(len(zone.headings)))]
        moving = walker if roams else zone.moving
        if not moving:
            heading += float(self.rng.normal(0, 0.04))
        return replace(
            self._actor(body, (x, y), heading),
            identity=1,
            speed=self._speed(zone) if moving else 0.0,
        )

    def _speed(self, zone: Zone) -> float:
        """Return a speed in metres a second; all traffic of one lane keeps the same."""
        low, high = _SPEEDS[zone.kind]
        if zone.kind not in {"lane", "cycle"}:
            return float(self.rng.uniform(low, high))
        return self._lane_speeds.setdefault(id(zone), float(self.rng.uniform(low, high)))

    def _actor(self, body: Body, spot: tuple[float, float], heading: float) -> Actor:
        size = 1 + self.rng.normal(0, body.spread, 3).clip(-0.2, 0.2)
        scale = (float(size[0]), float(size[1] ** 0.5), float(size[2]))
        return Actor(body, (*spot, 0.0), heading, scale, palette_of(body.category, self.rng))

    def _mount(self, vehicle: Actor) -> None:
        """Seat a rider on whatever is ridden: always if it moves, sometimes if it is parked."""
        if vehicle.body.category not in _RIDDEN:
            return
        share, seat, along = _RIDDEN[vehicle.body.category]
        if not vehicle.speed and self.rng.random() > share * 0.3:
            return
        x, y, _ = vehicle.position
        spot = (x + along * math.cos(vehicle.heading), y + along * math.sin(vehicle.heading))
        seated = self._actor(rider(seat), spot, vehicle.heading)
        self.actors.append(replace(seated, identity=1, speed=vehicle.speed, order=0.8))

    def _sees(self, position: tuple[float, float, float]) -> bool:
        pixel = self.camera.project(np.array([position]))[0][0] / self.camera.image_wh
        return bool((pixel > -0.02).all() and (pixel < 1.02).all())

    def _claim(self, actor: Actor) -> bool:
        """Reserve the ground under ``actor`` and say whether it was free."""
        length, width = (
            actor.body.mesh.footprint[0] * actor.scale[0],
            actor.body.mesh.footprint[1] * actor.scale[1],
        )
        cos, sin = abs(math.cos(actor.heading)), abs(math.sin(actor.heading))
        # Moving things keep their distance: the space ahead of and behind them is theirs too.
        length += 0.4 + 0.25 * actor.speed * (actor.body.category not in {1, 2})
        half_x, half_y = (
            (length * cos + width * sin) / 2 + 0.1,
            (length * sin + width * cos) / 2 + 0.1,
        )
        x, y, _ = actor.position
        rect = (x - half_x, y - half_y, x + half_x, y + half_y)
        occupied = np.array(self._occupied).reshape(-1, 4)
        if (
            (occupied[:, 0] < rect[2])
            & (occupied[:, 2] > rect[0])
            & (occupied[:, 1] < rect[3])
            & (occupied[:, 3] > rect[1])
        ).any():
            return False
        self._occupied.append(rect)
        return True
