"""Paints a town and the things in it as a camera sees them, and measures what it painted.

Things are painted from far to near at twice the picture's resolution, each pixel carrying the
number of what was painted there last. So a thing's box is the box of its own pixels, and the hidden
share is counted, not estimated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.bodies import Body
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.light import Look, develop, texture
from yolo_ema.scenes.meshes import Mesh, Part, box, mesh
from yolo_ema.scenes.town import House, Town, Tree

__all__ = ["MOST_NUMBERED", "Actor", "Sight", "paint"]

Array = NDArray[np.float64]
Pixels = NDArray[np.int32]
Extent = tuple[int, int, int, int]
"""Left, top, right and bottom on the canvas, the last column and row included."""

FINE = 2
"""Pixels of the canvas per pixel of the picture, each way."""

SCENERY = 255
MOST_NUMBERED = 254
"""Things that can be measured in one picture: their numbers must fit beside blue, green and red."""

# Strength of the fine and of the coarse texture for each of town.MATERIALS.
_FINE_GRAIN = np.array([0.05, 0.05, 0.15, 0.04, 0.035, 0.1], np.float32)
_COARSE_GRAIN = np.array([0.05, 0.05, 0.13, 0.05, 0.04, 0.08], np.float32)


@dataclass(frozen=True)
class Actor:
    """Something of a class, somewhere.

    Attributes:
        body: its shape and class.
        position: x, y and the height of its feet or wheels, metres.
        heading: direction of its nose, radians.
        scale: factors on its length, width and height.
        palette: (8, 3) blue, green, red of its colour slots.
        speed: metres a second along its heading.
        identity: the number that it keeps through a clip, from 1; 0 for one of a crowd that nobody
            counts.
        order: metres by which it counts as nearer than it is, so that riders are painted over what
            they ride.
    """

    body: Body
    position: tuple[float, float, float]
    heading: float
    scale: tuple[float, float, float]
    palette: Array
    speed: float = 0.0
    identity: int = 0
    order: float = 0.0


@dataclass(frozen=True)
class Sight:
    """What the picture shows of an actor.

    Attributes:
        box_ltwh: the box of its own pixels within the picture, also of those that something hides.
        cut: share, 0 to 1, of its box that lies outside the picture.
        hidden: share, 0 to 1, of its pixels within the picture that something nearer covers; 0 for
            what has no identity.
    """

    box_ltwh: tuple[int, int, int, int]
    cut: float
    hidden: float


def paint(
    town: Town, actors: Sequence[Actor], camera: Camera, look: Look, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[Sight | None]]:
    """Paint a picture.

    Args:
        town: what does not move.
        actors: what does; at most `MOST_NUMBERED` with an identity.
        camera: where from.
        look: the light.
        rng: the sensor's noise.

    Returns:
        The picture (H, W, 3), blue green red, and for each actor what is seen of it: None where it
        is outside.
    """
    fine = replace(camera, image_wh=(camera.image_wh[0] * FINE, camera.image_wh[1] * FINE))
    canvas = _Canvas(fine, look)
    trees = _near_view(town.trees, camera)
    order = _far_to_near(town.houses, trees, actors, camera)
    ground = _paint_ground(town, fine, camera, look)
    ground *= _light_on_ground([*town.houses, *trees, *actors], fine, look)[..., None]
    numbers = {
        index: 1 + count
        for count, index in enumerate(i for i, actor in enumerate(actors) if actor.identity)
    }
    measured: dict[int, tuple[Extent, Extent, int]] = {}
    for thing, index in order:
        if isinstance(thing, Actor):
            extent = canvas.body(
                _placed(thing),
                thing.body.mesh,
                thing.palette,
                thing.heading,
                numbers.get(index, SCENERY),
            )
            if extent is not None:
                inside, own = canvas.measure(extent, numbers.get(index, SCENERY))
                measured[index] = extent, inside, own
        elif isinstance(thing, Tree):
            canvas.tree(thing)
        else:
            built, palette = _house(thing)
            canvas.body(built.corners, built, palette, 0.0, SCENERY)
    sights: list[Sight | None] = [None] * len(actors)
    for index, (extent, inside, own) in measured.items():
        seen = canvas.measure(extent, numbers[index])[1] if index in numbers else own
        sights[index] = _sight(extent, inside, own, seen)
    return develop(_over(ground, canvas.pixels, camera.image_wh), camera, look, rng), sights


def _sight(extent: Extent, inside: Extent, own: int, seen: int) -> Sight | None:
    """Turn what was measured on the canvas into what the picture shows; None where that is nothing.

    Args:
        extent: where the whole thing reaches, also outside the canvas.
        inside: where its pixels on the canvas reach.
        own: how many these are.
        seen: how many of them are left when all is painted.
    """
    if not own:
        return None
    left, top, right, bottom = extent
    area = (right - left + 1) * (bottom - top + 1)
    kept = (inside[2] - inside[0] + 1) * (inside[3] - inside[1] + 1)
    x0, y0, x1, y1 = (
        inside[0] // FINE,
        inside[1] // FINE,
        inside[2] // FINE + 1,
        inside[3] // FINE + 1,
    )
    return Sight((x0, y0, x1 - x0, y1 - y0), 1 - kept / area, 1 - seen / own)


def _over(
    ground: NDArray[np.float32], pixels: NDArray[np.uint8], image_wh: tuple[int, int]
) -> NDArray[np.float32]:
    """Lay the canvas, with soft edges, over the ground."""
    covered = cv2.resize(
        (pixels[..., 3] > 0).astype(np.float32), image_wh, interpolation=cv2.INTER_AREA
    )
    things = cv2.resize(pixels[..., :3], image_wh, interpolation=cv2.INTER_AREA)
    result: NDArray[np.float32] = ground * (1 - covered[..., None]) + things
    return result


def _placed(actor: Actor) -> Array:
    """Return the corners of an actor's body (V, 3) in world coordinates."""
    cos, sin = math.cos(actor.heading), math.sin(actor.heading)
    local = actor.body.mesh.corners * actor.scale
    turned = np.column_stack(
        [local[:, 0] * cos - local[:, 1] * sin, local[:, 0] * sin + local[:, 1] * cos, local[:, 2]]
    )
    return turned + actor.position


class _Canvas:
    """Pixels of blue, green, red and the number of what was painted."""

    def __init__(self, camera: Camera, look: Look) -> None:
        width, height = camera.image_wh
        self.camera, self.look = camera, look
        self.pixels = np.zeros((height, width, 4), np.uint8)

    def measure(self, extent: Extent, number: int) -> tuple[Extent, int]:
        """Return where the pixels within ``extent`` that carry ``number`` now reach, and how many
        they are.
        """
        left, top = max(extent[0], 0), max(extent[1], 0)
        own = self.pixels[top : extent[3] + 1, left : extent[2] + 1, 3] == number
        count = int(np.count_nonzero(own))
        if not count:
            return (left, top, left, top), 0
        rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        return (
            left + int(columns[0]),
            top + int(rows[0]),
            left + int(columns[-1]),
            top + int(rows[-1]),
        ), count

    def _outside(self, low: Array | Pixels, high: Array | Pixels) -> bool:
        height, width = self.pixels.shape[:2]
        return bool(high[0] < 0 or high[1] < 0 or low[0] >= width or low[1] >= height)

    def body(
        self, corners: Array, shape: Mesh, palette: Array, heading: float, number: int
    ) -> Extent | None:
        """Paint a body whose ``corners`` (V, 3) are in world coordinates.

        Returns:
            The extent of what was painted, also outside the canvas: left, top, right, bottom, ends
                included; None where
            nothing of it is on the canvas.
        """
        points, depths = self.camera.project(corners)
        if depths.min() < 1 or self._outside(points.min(axis=0), points.max(axis=0)):
            return None
        pixels = np.floor(np.clip(points, -20000, 20000)).astype(np.int32)
        quads = points[shape.faces]
        one, other = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
        # Counter-clockwise from outside is clockwise in a picture whose y points down.
        facing = np.flatnonzero(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] < 0)
        if not len(facing):
            return None
        cos, sin = math.cos(heading), math.sin(heading)
        sun_x, sun_y, sun_z = self.look.sun
        lit = shape.normals[facing] @ np.array(
            [cos * sun_x + sin * sun_y, cos * sun_y - sin * sun_x, sun_z]
        )
        bright = self.look.ambient + self.look.sunlight * np.maximum(lit, 0)
        colours = np.clip(palette[shape.slots[facing]] * bright[:, None], 0, 255)
        far = shape.centres[:, :2] @ (
            np.array([[cos, sin], [-sin, cos]]) @ self.camera.rotation[2, :2]
        )
        sequence = np.lexsort((-far[shape.part[facing]], shape.layers[shape.part[facing]]))
        drawn = pixels[shape.faces[facing]]
        for index in sequence:
            blue, green, red = colours[index]
            cv2.fillConvexPoly(
                self.pixels, drawn[index], (float(blue), float(green), float(red), number)
            )
        low, high = drawn.min(axis=(0, 1)), drawn.max(axis=(0, 1))
        if self._outside(low, high):
            return None
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def tree(self, tree: Tree) -> None:
        """Paint a tree: dark puffs of leaves below, light ones towards the sun."""
        centres, radii, tones = _puffs(tree, self.look)
        points, depths = self.camera.project(centres)
        pixel_radii = radii * self.camera.focal * self.camera.image_wh[0] / depths
        margin = pixel_radii.max()
        if depths.min() < 1 or self._outside(
            points.min(axis=0) - margin, points.max(axis=0) + margin
        ):
            return
        green = np.array([52 + 10 * tree.hue, 104 + 12 * tree.hue, 66 + 26 * tree.hue])
        colours = np.clip(green * tones[:, None], 0, 255)
        pixels, sizes = np.floor(points).astype(int), np.maximum(1, pixel_radii.astype(int))
        for (x, y), size, (blue, green_, red) in zip(pixels, sizes, colours, strict=True):
            cv2.circle(
                self.pixels,
                (int(x), int(y)),
                int(size),
                (float(blue), float(green_), float(red), SCENERY),
                -1,
            )


@functools.lru_cache(maxsize=4096)
def _crown(tree: Tree) -> tuple[Array, Array]:
    """Return the puffs of a tree's crown around its middle: (P, 3) in crown radii, and their tones
    (P,).
    """
    rng = np.random.default_rng(tree.seed)
    directions = rng.standard_normal((34, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= rng.uniform(0.45, 0.85, (34, 1))
    return directions[np.argsort(directions[:, 2])], rng.uniform(0.85, 1.15, 34)


def _puffs(tree: Tree, look: Look) -> tuple[Array, Array, Array]:
    """Return centres (P, 3), radii (P,) and brightness (P,) of a tree's puffs, in the order of
    painting.
    """
    offsets, tones = _crown(tree)
    middle = np.array([*tree.position, tree.height * 0.72])
    centres = middle + offsets * tree.radius * (1.0, 1.0, 0.8)
    lit = np.maximum(offsets @ np.asarray(look.sun) + 0.15, 0)
    return (
        centres,
        np.full(len(offsets), tree.radius * 0.36),
        (look.ambient * 0.85 + look.sunlight * lit * 1.5) * tones,
    )


@functools.lru_cache(maxsize=512)
def _house(house: House) -> tuple[Mesh, Array]:
    """Return a house's shape in world coordinates and its palette: wall, roof, glass, sills,
    machines on the roof.
    """
    x0, y0, x1, y1 = house.rect
    rng = np.random.default_rng(house.seed)
    depth, middle = y1 - y0, (y0 + y1) / 2
    parts = [box((x0, x1), depth, (0, house.height), (1, 0, 0, 0, 0), y=middle)]
    parts += _windows(house)
    edge = 0.5
    parts += [
        box((x0 - 0.2, x1 + 0.2), edge, (house.height, house.height + 0.6), 3, layer=2, y=y)
        for y in (y0 + edge / 2, y1 - edge / 2)
    ]
    parts += [
        box(
            (x, x + edge),
            depth - 2 * edge,
            (house.height, house.height + 0.6),
            3,
            layer=2,
            y=middle,
        )
        for x in (x0 - 0.2, x1 - 0.3)
    ]
    for _ in range(int(rng.integers(1, 5))):
        x, y, size = (
            float(rng.uniform(x0 + 2, x1 - 4)),
            float(rng.uniform(y0 + 2, y1 - 2)),
            float(rng.uniform(0.8, 2.0)),
        )
        parts.append(
            box((x, x + size), size, (house.height, house.height + size * 0.6), 4, layer=3, y=y)
        )
    wall, roof = np.array(house.wall), np.array(house.roof)
    return mesh(parts), np.array(
        [wall, roof, (92, 78, 66), np.minimum(wall * 1.12, 250), (168, 170, 170)]
    )


def _windows(house: House) -> list[Part]:
    """Return the windows of all four walls as flat faces just outside them."""
    x0, y0, x1, y1 = house.rect
    parts = []
    out = 0.05
    rows = [(z, z + 1.3) for z in np.arange(1.0, house.height - 1.4, 3.0)]
    for low, high in rows:
        for x in np.arange(x0 + 1.2, x1 - 2.2, 3.2):
            for y, turn in ((y0 - out, 1), (y1 + out, -1)):
                corners = np.array(
                    [[x, y, low], [x + 1.5, y, low], [x + 1.5, y, high], [x, y, high]]
                )
                parts.append(Part(corners[::turn], np.array([[0, 1, 2, 3]]), (2,), 1))
        for y in np.arange(y0 + 1.2, y1 - 2.2, 3.2):
            for x, turn in ((x1 + out, 1), (x0 - out, -1)):
                corners = np.array(
                    [[x, y, low], [x, y + 1.5, low], [x, y + 1.5, high], [x, y, high]]
                )
                parts.append(Part(corners[::turn], np.array([[0, 1, 2, 3]]), (2,), 1))
    return parts


def _near_view(trees: Sequence[Tree], camera: Camera) -> list[Tree]:
    """Return the trees that may be in the picture, or whose shadow may be."""
    if not trees:
        return []
    places = np.array([tree.position for tree in trees])
    pixels, depths = camera.project(np.column_stack([places, np.zeros(len(trees))]))
    margin = 20 * camera.focal * camera.image_wh[0] / depths[:, None]
    near = ((pixels > -margin) & (pixels < camera.image_wh + margin)).all(axis=1) & (depths > 5)
    return [tree for tree, kept in zip(trees, near.tolist(), strict=True) if kept]


def _far_to_near(
    standing: Sequence[House], trees: Sequence[Tree], actors: Sequence[Actor], camera: Camera
) -> list[tuple[Actor | Tree | House, int]]:
    """Return houses, trees and actors, with the actors' indices, in the order of painting.

    Upright things hide what lies farther from the point below the lens. Houses are too large for
    one distance, so each thing is painted before the farthest house that stands between it and the
    lens.
    """
    foot = camera.position[:2]
    things: list[tuple[Actor | Tree, int]] = [
        *((actor, index) for index, actor in enumerate(actors)),
        *((tree, -1) for tree in trees),
    ]
    places = np.array([thing.position[:2] for thing, _ in things]).reshape(-1, 2)
    nearness = np.array([getattr(thing, "order", 0.0) for thing, _ in things])
    distances = np.hypot(*(places - foot).T) - nearness
    rects = np.array([house.rect for house in standing]).reshape(-1, 4)
    nearest = np.clip(foot, rects[:, :2], rects[:, 2:])
    houses = np.argsort(-np.hypot(*(nearest - foot).T), kind="stable")
    slots = np.full(len(things), len(houses))
    for slot in reversed(range(len(houses))):
        slots[_behind(rects[houses[slot]], foot, places)] = slot
    keyed: list[tuple[float, float, Actor | Tree | House, int]] = [
        (float(slot), -float(distance), thing, index)
        for slot, distance, (thing, index) in zip(slots, distances, things, strict=True)
    ]
    keyed += [(slot + 0.5, 0.0, standing[house], -1) for slot, house in enumerate(houses)]
    keyed.sort(key=lambda entry: entry[:2])
    return [(thing, index) for _, _, thing, index in keyed]


def _behind(rect: Array, foot: Array, places: Array) -> NDArray[np.bool_]:
    """Return which ``places`` (N, 2) a house on ``rect`` may hide from a lens above ``foot``."""
    low, high = rect[:2], rect[2:]
    in_front = (((foot < low) & (places < low)) | ((foot > high) & (places > high))).any(axis=1)
    corners = (
        np.array([[rect[0], rect[1]], [rect[2], rect[1]], [rect[2], rect[3]], [rect[0], rect[3]]])
        - foot
    )
    middle = math.atan2(*(corners.mean(axis=0)[::-1]))
    spread = np.abs(_wrapped(np.arctan2(corners[:, 1], corners[:, 0]) - middle)).max()
    offset = places - foot
    bearing = np.abs(_wrapped(np.arctan2(offset[:, 1], offset[:, 0]) - middle))
    slack = np.arctan2(6.0, np.maximum(np.hypot(*offset.T), 1.0))
    hidden: NDArray[np.bool_] = ~in_front & (bearing < spread + slack)
    return hidden


def _wrapped(angle: Array) -> Array:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _paint_ground(town: Town, fine: Camera, camera: Camera, look: Look) -> NDArray[np.float32]:
    """Return the ground (H, W, 3) in even light, textured."""
    width, height = fine.image_wh
    canvas = np.empty((height, width, 4), np.uint8)
    canvas[:] = (*map(int, town.base), 2)
    quads, colours, materials = town.ground.stacked()
    points, depths = fine.project(
        np.column_stack([quads.reshape(-1, 2), np.zeros(quads.shape[0] * 4)])
    )
    points, depths = points.reshape(-1, 4, 2), depths.reshape(-1, 4)
    low, high = points.min(axis=1), points.max(axis=1)
    shown = (depths.min(axis=1) > 1) & (high >= 0).all(axis=1) & (low < (width, height)).all(axis=1)
    pixels = np.floor(np.clip(points, -20000, 20000)).astype(np.int32)
    for index in np.flatnonzero(shown):
        blue, green, red = colours[index]
        cv2.fillConvexPoly(
            canvas, pixels[index], (float(blue), float(green), float(red), float(materials[index]))
        )
    flat = cv2.resize(canvas[..., :3], camera.image_wh, interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    bright = look.ambient + look.sunlight * max(look.sun[2], 0.0)
    return (
        flat * np.float32(bright) * _grain(canvas[::FINE, ::FINE, 3], camera, look.grain)[..., None]
    )


def _grain(material: NDArray[np.uint8], camera: Camera, strength: float) -> NDArray[np.float32]:
    """Return the ground's texture (H, W) around 1, fixed to the ground."""
    if not strength:
        return np.ones(material.shape, np.float32)
    tile, to_ground = texture(), np.linalg.inv(camera.ground_to_image())
    total = np.ones(material.shape, np.float32)
    for pixels_per_metre, strengths in ((9.0, _FINE_GRAIN), (1.1, _COARSE_GRAIN)):
        to_tile = np.diag([pixels_per_metre, pixels_per_metre, 1.0]) @ to_ground
        layer = cv2.warpPerspective(
            tile,
            to_tile,
            camera.image_wh,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        total += layer * (strengths[material] * np.float32(strength))
    return np.clip(total, 0.4, 1.6)


def _light_on_ground(
    things: Sequence[House | Tree | Actor], fine: Camera, look: Look
) -> NDArray[np.float32]:
    """Return (H, W) of the picture: 1 in the sun, less in a cast shadow."""
    width, height = fine.image_wh
    if not look.shadow:
        return np.ones((height // FINE, width // FINE), np.float32)
    mask = np.zeros((height, width), np.uint8)
    lean = -np.array(look.sun[:2]) / look.sun[2]
    for thing in things:
        if isinstance(thing, Tree):
            _tree_shadow(mask, thing, fine, look, lean)
            continue
        corners = _house(thing)[0].corners if isinstance(thing, House) else _placed(thing)
        cast = np.column_stack([corners[:, :2] + corners[:, 2:] * lean, np.zeros(len(corners))])
        points, depths = fine.project(cast)
        if (
            depths.min() < 1
            or (points.max(axis=0) < 0).any()
            or (points.min(axis=0) >= (width, height)).any()
        ):
            continue
        hull = cv2.convexHull(np.floor(np.clip(points, -20000, 20000)).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 255)
    soft = cv2.GaussianBlur(
        cv2.resize(mask, (width // FINE, height // FINE), interpolation=cv2.INTER_AREA), (0, 0), 0.8
    )
    return 1 - soft.astype(np.float32) * np.float32(look.shadow / 255)


def _tree_shadow(
    mask: NDArray[np.uint8], tree: Tree, fine: Camera, look: Look, lean: Array
) -> None:
    centres, radii, _ = _puffs(tree, look)
    cast = np.column_stack([centres[:, :2] + centres[:, 2:] * lean, np.zeros(len(centres))])
    points, depths = fine.project(cast)
    if depths.min() < 1:
        return
    sizes = radii * fine.focal * fine.image_wh[0] / depths
    margin = float(sizes.max())
    height, width = mask.shape
    if (points.max(axis=0) + margin < 0).any() or (
        points.min(axis=0) - margin >= (width, height)
    ).any():
        return
    flat = max(math.sin(fine.pitch), 0.2)
    for (x, y), size in zip(np.floor(points).astype(int), sizes, strict=True):
        cv2.ellipse(
            mask,
            (int(x), int(y)),
            (max(1, int(size)), max(1, int(size * flat))),
            0,
            0,
            360,
            255,
            -1,
        )
