"""One drawn image with its labels in VisDrone's annotation format."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_ema.constants import OTHERS
from yolo_ema.errors import ConfigError
from yolo_ema.scenes.actors import Actor, Sight
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.light import Look, draw_look
from yolo_ema.scenes.painter import MOST_NUMBERED, paint
from yolo_ema.scenes.population import Population
from yolo_ema.scenes.town import Town, build_town

__all__ = ["Scene", "Stage", "annotate", "draw_scene", "set_stage"]

LEAST_VISIBLE = 0.15
"""Share of an object's pixels that must be visible for it to be labelled."""

LEAST_SIDE_PX = 3
MOST_CUT = 0.5
"""What the image's border cuts off by more than this becomes an ignored region."""


@dataclass(frozen=True)
class Scene:
    """A drawn image and its labels.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        annotations: (N, 8) int64 in VisDrone's columns: left, top, width, height, score, category,
            truncation, occlusion; pixels.
        identities: (N,) int64, the number of each row's object; 0 for ignored regions.
    """

    image_bgr: NDArray[np.uint8]
    annotations: NDArray[np.int64]
    identities: NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """Everything that an image is painted from."""

    town: Town
    actors: tuple[Actor, ...]
    camera: Camera
    look: Look


def draw_scene(
    seed: int,
    *,
    image_wh: tuple[int, int] = (960, 540),
    objects: int | None = None,
    crowd: bool | None = None,
    range_m: tuple[float, float] = (48.0, 85.0),
) -> Scene:
    """Draw a scene as a drone's camera might see it.

    Args:
        seed: the same seed and arguments give the same bytes.
        image_wh: image size, pixels; each side 64 to 8192. The field of view does not change:
            larger images show the same in more detail.
        objects: how many objects to place, 1 to 200, room permitting; by default around 60 for a
            16:9 image.
        crowd: whether there is a crowd inside an ignored region, room permitting; by default in
            half of the scenes.
        range_m: smallest and largest distance from the lens to the ground in the centre of the
            image, metres, 10 to 300.

    Returns:
        The image and its labels. Everything drawn is labelled, inside an ignored region, or almost
        entirely hidden.

    Raises:
        ConfigError: a size or a number out of range.

    Examples:
        >>> from yolo_ema import draw_scene
        >>> draw_scene(3, image_wh=(640, 360)).image_bgr.shape
        (360, 640, 3)
    """
    stage = set_stage(seed, image_wh=image_wh, objects=objects, crowd=crowd, range_m=range_m)
    image, sights = paint(
        stage.town, stage.actors, stage.camera, stage.look, np.random.default_rng([seed, 1])
    )
    annotations, identities = annotate(stage.actors, sights)
    return Scene(image, annotations, identities)


def set_stage(
    seed: int,
    *,
    image_wh: tuple[int, int],
    objects: int | None = None,
    crowd: bool | None = None,
    range_m: tuple[float, float] = (48.0, 85.0),
) -> Stage:
    """Set up what `draw_scene` paints; arguments and errors are its own."""
    width, height = image_wh
    if min(image_wh) < 64 or max(image_wh) > 8192:
        raise ConfigError(f"image_wh is {width}x{height}; expected sides from 64 to 8192 pixels")
    if objects is not None and not 1 <= objects <= 200:
        raise ConfigError(f"objects is {objects}; expected 1 to 200")
    if not 10 <= range_m[0] <= range_m[1] <= 300:
        raise ConfigError(
            f"range_m is {range_m[0]} to {range_m[1]}; expected 10 to 300 metres, smaller first"
        )
    rng = np.random.default_rng([seed, 0])
    camera = _hang_camera(rng, image_wh, range_m)
    corners = camera.visible_ground()
    town = build_town(
        rng, (*(corners.min(axis=0) - 1).tolist(), *(corners.max(axis=0) + 1).tolist())
    )
    if objects is None:
        # in view, as a share of that of an image of 16:9
        ground = width * height / max(width, height) ** 2 / 0.5625
        objects = int(np.clip(rng.lognormal(math.log(60 * ground), 0.35), 12, 160))
    population = Population(town, camera, rng)
    if crowd if crowd is not None else rng.random() < 0.5:
        population.crowd(int(rng.integers(12, 36)))
    population.settle(objects)
    return Stage(town, tuple(population.number(MOST_NUMBERED)), camera, draw_look(rng))


def _hang_camera(
    rng: np.random.Generator, image_wh: tuple[int, int], range_m: tuple[float, float]
) -> Camera:
    """Return a camera that points down steeply enough to keep the horizon out of the image."""
    focal = max(1.0, image_wh[1] / image_wh[0])  # the longer side sees 53 degrees
    half_view = math.degrees(math.atan(image_wh[1] / image_wh[0] / focal / 2))
    lowest = max(38.0, half_view + 18.0)
    pitch = float(rng.uniform(lowest, 70)) if rng.random() < 0.85 else float(rng.uniform(70, 90))
    x, y = rng.uniform(-18, 18, 2)
    distance = math.exp(float(rng.uniform(math.log(range_m[0]), math.log(range_m[1]))))
    return Camera(
        (float(x), float(y)),
        distance,
        float(rng.uniform(0, 2 * math.pi)),
        math.radians(pitch),
        image_wh,
        focal,
    )


def annotate(
    actors: tuple[Actor, ...], sights: list[Sight | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return VisDrone's rows (N, 8) and identities (N,) of what was painted.

    Ignored regions (category 0) come first: one around a crowd, and one for each object that the
    image's border cuts off by more than half. Objects that lie at least half inside the crowd's
    region, or are hidden by more than 85 %, are not labelled.
    """
    region = _crowd_region(actors, sights)
    regions, rows, identities = [] if region is None else [region], [], []
    for actor, sight in zip(actors, sights, strict=True):
        if sight is None or not actor.identity or sight.hidden > 1 - LEAST_VISIBLE:
            continue
        if region is not None and _share_inside(sight.box_ltwh, region) >= 0.5:
            continue
        if sight.cut > MOST_CUT or min(sight.box_ltwh[2:]) < LEAST_SIDE_PX:
            regions.append(sight.box_ltwh)
            continue
        category = actor.body.category
        occlusion = 0 if sight.hidden < 0.01 else 1 if sight.hidden <= 0.5 else 2
        rows.append(
            (*sight.box_ltwh, int(category != OTHERS), category, int(sight.cut > 0), occlusion)
        )
        identities.append(actor.identity)
    table = [*((*box, 0, 0, 0, 0) for box in regions), *rows]
    numbers = [*(0 for _ in regions), *identities]
    return np.array(table, np.int64).reshape(-1, 8), np.array(numbers, np.int64)


def _crowd_region(
    actors: tuple[Actor, ...], sights: list[Sight | None]
) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height around everything without an identity."""
    boxes = [
        sight.box_ltwh
        for actor, sight in zip(actors, sights, strict=True)
        if sight is not None and not actor.identity
    ]
    if not boxes:
        return None
    ltwh = np.array(boxes)
    left, top = ltwh[:, :2].min(axis=0)
    right, bottom = (ltwh[:, :2] + ltwh[:, 2:]).max(axis=0)
    return int(left), int(top), int(right - left), int(bottom - top)


def _share_inside(
    box_ltwh: tuple[int, int, int, int], region_ltwh: tuple[int, int, int, int]
) -> float:
    """Return the share of a box's area that lies inside a region."""
    left, top, width, height = box_ltwh
    across = min(left + width, region_ltwh[0] + region_ltwh[2]) - max(left, region_ltwh[0])
    down = min(top + height, region_ltwh[1] + region_ltwh[3]) - max(top, region_ltwh[1])
    return max(across, 0) * max(down, 0) / (width * height)
