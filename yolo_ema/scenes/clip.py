"""A drawn clip: the drone moves over moving traffic, and every object keeps its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolo_ema.errors import ConfigError
from yolo_ema.scenes.actors import Actor
from yolo_ema.scenes.bodies import Body
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.light import draw_look
from yolo_ema.scenes.meshes import box, mesh
from yolo_ema.scenes.painter import MOST_NUMBERED, paint
from yolo_ema.scenes.population import Population
from yolo_ema.scenes.scene import Scene, annotate
from yolo_ema.scenes.town import Town, build_town

__all__ = ["MOTIONS", "clip_cameras", "draw_clip"]

MOTIONS = ("pan", "turn", "climb")

_SAMPLES = 9


def draw_clip(
    seed: int,
    *,
    frames: int = 90,
    fps: float = 30.0,
    image_wh: tuple[int, int] = (960, 540),
    objects: int = 60,
    motions: Sequence[str] = MOTIONS,
    range_m: tuple[float, float] = (48.0, 70.0),
    pace: float = 1.0,
    bridges: int = 0,
) -> Iterator[Scene]:
    """Draw a clip frame by frame.

    Traffic of one direction moves while the other waits, people walk across one another's paths,
    trees and tall vehicles hide things for a while, and the ground's texture is fixed to the
    ground. An object that is hidden or outside the image has no row in that frame, and comes back
    under its own number.

    Args:
        seed: the same seed and arguments give the same bytes.
        frames: how many, at least 1.
        fps: frames per second.
        image_wh: image size, pixels; each side 64 to 8192.
        objects: how many objects to place along the camera's path, 1 to 200, not counting riders;
            fewer where there is no room.
        motions: what the camera does, out of `MOTIONS`; none for a hovering one.
        range_m: smallest and largest distance from lens to centre in the first image, metres.
        pace: factor on the camera's speeds.
        bridges: footbridges over streets with moving traffic; they hide what passes below.

    Yields:
        `frames` scenes; the identities say which row belongs to which object.

    Raises:
        ConfigError: a number out of range, or an unknown motion.

    Examples:
        >>> from yolo_ema import draw_clip
        >>> [scene.image_bgr.shape for scene in draw_clip(0, frames=2, image_wh=(320, 240))]
        [(240, 320, 3), (240, 320, 3)]
    """
    _check(frames, fps, image_wh, objects, motions)
    if pace <= 0 or bridges < 0:
        raise ConfigError(
            f"pace is {pace} and bridges is {bridges}; expected more than 0, and at least 0"
        )
    rng = np.random.default_rng([seed, 2])
    flight = _plan(rng, image_wh, motions, range_m).faster(pace)
    seconds = frames / fps
    cameras = [flight.at(seconds * step / (_SAMPLES - 1)) for step in range(_SAMPLES)]
    corners = np.concatenate([camera.visible_ground() for camera in cameras])
    extent = (*(corners.min(axis=0) - 1).tolist(), *(corners.max(axis=0) + 1).tolist())
    town = build_town(rng, extent)
    safe = replace(town, zones=tuple(zone for zone in town.zones if not zone.busy))
    population = Population(safe, cameras[0], rng)
    population.crowd(int(rng.integers(12, 30)))
    for camera in cameras:
        population.camera = camera
        population.settle(math.ceil(objects / _SAMPLES))
    actors, look = population.number(MOST_NUMBERED), draw_look(rng)
    built = _bridges(np.random.default_rng([seed, 4]), town, cameras, bridges)
    for frame in range(frames):
        now = frame / fps
        moved = tuple(_moved(actor, now) for actor in actors)
        image, sights = paint(
            town, (*moved, *built), flight.at(now), look, np.random.default_rng([seed, 3, frame])
        )
        yield Scene(image, *annotate(moved, sights[: len(moved)]))


def clip_cameras(
    seed: int,
    *,
    frames: int = 90,
    fps: float = 30.0,
    image_wh: tuple[int, int] = (960, 540),
    motions: Sequence[str] = MOTIONS,
    range_m: tuple[float, float] = (48.0, 70.0),
    pace: float = 1.0,
) -> list[Camera]:
    """Return the exact camera of each frame that `draw_clip` draws with the same arguments."""
    _check(frames, fps, image_wh, 1, motions)
    flight = _plan(np.random.default_rng([seed, 2]), image_wh, motions, range_m).faster(pace)
    return [flight.at(frame / fps) for frame in range(frames)]


def _check(
    frames: int, fps: float, image_wh: tuple[int, int], objects: int, motions: Sequence[str]
) -> None:
    problems = [
        f"frames is {frames}; expected at least 1" if frames < 1 else "",
        f"fps is {fps}; expected more than 0" if fps <= 0 else "",
        f"image_wh is {image_wh[0]}x{image_wh[1]}; expected sides from 64 to 8192 pixels"
        if not 64 <= min(image_wh) <= max(image_wh) <= 8192
        else "",
        f"objects is {objects}; expected 1 to 200" if not 1 <= objects <= 200 else "",
        *(
            f"motions has {motion!r}; expected some of {', '.join(MOTIONS)}"
            for motion in motions
            if motion not in MOTIONS
        ),
    ]
    if any(problems):
        raise ConfigError("; ".join(filter(None, problems)))


def _moved(actor: Actor, seconds: float) -> Actor:
    """Return ``actor`` as it stands some seconds later."""
    if not actor.speed:
        return actor
    x, y, z = actor.position
    step = actor.speed * seconds
    return replace(
        actor, position=(x + step * math.cos(actor.heading), y + step * math.sin(actor.heading), z)
    )


def _bridges(
    rng: np.random.Generator, town: Town, cameras: Sequence[Camera], count: int
) -> list[Actor]:
    """Return the pieces of ``count`` footbridges, each across a street with traffic, in sight of
    one of the cameras.
    """
    lanes = [zone for zone in town.zones if zone.kind == "lane" and zone.moving]
    pieces: list[Actor] = []
    for number in range(count if lanes else 0):
        seen = cameras[number * (len(cameras) - 1) // max(count - 1, 1)].visible_ground()
        low, high = seen.min(axis=0), seen.max(axis=0)
        x0, y0, x1, y1 = min(lanes, key=lambda zone: _away(zone.rect, seen.mean(axis=0))).rect
        along_x = x1 - x0 > y1 - y0
        spot = [(x0 + x1) / 2, (y0 + y1) / 2]
        axis = 0 if along_x else 1
        spot[axis] = float(
            np.clip(
                rng.uniform(low[axis] * 0.6 + high[axis] * 0.4, low[axis] * 0.4 + high[axis] * 0.6),
                *((x0, x1), (y0, y1))[axis],
            )
        )
        pieces += _bridge((spot[0], spot[1]), math.pi / 2 if along_x else 0.0)
    return pieces


def _away(rect: tuple[float, float, float, float], point: np.ndarray) -> float:
    """Return how far a point is from a rectangle."""
    return float(np.hypot(*(np.clip(point, rect[:2], rect[2:]) - point)))


def _bridge(middle: tuple[float, float], heading: float) -> list[Actor]:
    """Return a bridge in square pieces, each painted before what stands nearer."""
    side, height, pieces = 5.0, 6.0, 7
    rails = [
        box((-side / 2, side / 2), 0.25, (height + 0.7, height + 1.7), 1, layer=1, y=y)
        for y in (-side / 2, side / 2)
    ]
    deck = Body(0, mesh([box((-side / 2, side / 2), side, (height, height + 0.7), 0), *rails]), 0.0)
    palette = np.array([(150.0, 154.0, 156.0), (92.0, 104.0, 112.0)])
    steps = [side * (number - (pieces - 1) / 2) for number in range(pieces)]
    return [
        Actor(
            deck,
            (middle[0] + step * math.cos(heading), middle[1] + step * math.sin(heading), 0.0),
            heading,
            (1.0, 1.0, 1.0),
            palette,
            order=height,
        )
        for step in steps
    ]


@dataclass(frozen=True)
class _Flight:
    """A camera's path: the speeds, per second, of its target, its yaw and the logarithm of its
    distance, and its sway in the wind.
    """

    start: Camera
    drift: tuple[float, float]
    turn: float
    climb: float
    sway: float

    def faster(self, pace: float) -> _Flight:
        """Return the same path at another pace; the wind stays."""
        x, y = self.drift
        return replace(
            self, drift=(pace * x, pace * y), turn=pace * self.turn, climb=pace * self.climb
        )

    def at(self, seconds: float) -> Camera:
        """Return the camera some seconds after the start."""
        x, y = self.start.target_xy
        gust = self.sway * math.sin(2.1 * seconds)
        target = (
            x + self.drift[0] * seconds + gust,
            y + self.drift[1] * seconds + self.sway * math.sin(1.3 * seconds),
        )
        return replace(
            self.start,
            target_xy=target,
            yaw=self.start.yaw + self.turn * seconds + 0.01 * gust,
            distance=self.start.distance * math.exp(self.climb * seconds),
        )


def _plan(
    rng: np.random.Generator,
    image_wh: tuple[int, int],
    motions: Sequence[str],
    range_m: tuple[float, float],
) -> _Flight:
    focal = max(1.0, image_wh[1] / image_wh[0])
    half_view = math.degrees(math.atan(image_wh[1] / image_wh[0] / focal / 2))
    pitch = math.radians(float(rng.uniform(max(45.0, half_view + 20), 70)))
    angle, pace = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(3, 6))
    turn = float(rng.choice([-1, 1])) * math.radians(float(rng.uniform(4, 10)))
    climb = float(rng.uniform(0.03, 0.08))
    distance = float(rng.uniform(*range_m))
    yaw = float(rng.uniform(0, 2 * math.pi))
    still = not motions
    return _Flight(
        start=Camera((0.0, 0.0), distance, yaw, pitch, image_wh, focal),
        drift=(pace * math.cos(angle), pace * math.sin(angle)) if "pan" in motions else (0.0, 0.0),
        turn=turn if "turn" in motions else 0.0,
        climb=climb if "climb" in motions else 0.0,
        sway=0.0 if still else 0.3,
    )
