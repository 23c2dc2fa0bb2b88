"""Paints a town and the things in it as a camera sees them, and measures what it painted.

Things are painted from far to near at twice the image's resolution, each pixel carrying the number
of what was painted there last. So a thing's box is the box of its own pixels, and the hidden share
is counted, not estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.actors import Actor, Sight
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.depth_order import far_to_near, trees_in_view
from yolo_ema.scenes.ground import Tree
from yolo_ema.scenes.ground_painter import FINE, paint_ground, sunlight_on_ground
from yolo_ema.scenes.light import Look, develop
from yolo_ema.scenes.meshes import Mesh
from yolo_ema.scenes.scenery import house_mesh, tree_puffs
from yolo_ema.scenes.town import Town

Array = NDArray[np.float64]
Pixels = NDArray[np.int32]
Extent = tuple[int, int, int, int]
"""Left, top, right and bottom on the canvas, the last column and row included."""

SCENERY = 255
MOST_NUMBERED = 254
"""Things that can be measured in one image: their numbers must fit beside blue, green and red."""


def paint(
    town: Town, actors: Sequence[Actor], camera: Camera, look: Look, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[Sight | None]]:
    """Paint an image (H, W, 3), blue green red, and return it with what it shows of each actor,
    None for those outside; at most `MOST_NUMBERED` actors have an identity.
    """
    fine = replace(camera, image_wh=(camera.image_wh[0] * FINE, camera.image_wh[1] * FINE))
    canvas = _Canvas(fine, look)
    trees = trees_in_view(town.trees, camera)
    order = far_to_near(town.houses, trees, actors, camera)
    ground = paint_ground(town, fine, camera, look)
    ground *= sunlight_on_ground([*town.houses, *trees, *actors], fine, look)[..., None]
    numbers = {
        index: 1 + count
        for count, index in enumerate(i for i, actor in enumerate(actors) if actor.identity)
    }
    measured: dict[int, tuple[Extent, Extent, int]] = {}
    for item, index in order:
        if isinstance(item, Actor):
            extent = canvas.body(
                item.corners(),
                item.body.mesh,
                item.palette,
                item.heading,
                numbers.get(index, SCENERY),
            )
            if extent is not None:
                inside, drawn = canvas.measure(extent, numbers.get(index, SCENERY))
                measured[index] = extent, inside, drawn
        elif isinstance(item, Tree):
            canvas.tree(item)
        else:
            built, palette = house_mesh(item)
            canvas.body(built.corners, built, palette, 0.0, SCENERY)
    sights: list[Sight | None] = [None] * len(actors)
    for index, (extent, inside, drawn) in measured.items():
        seen = canvas.measure(extent, numbers[index])[1] if index in numbers else drawn
        sights[index] = _sight(extent, inside, drawn, seen)
    return develop(_over(ground, canvas.pixels, camera.image_wh), camera, look, rng), sights


def _sight(extent: Extent, inside: Extent, drawn: int, seen: int) -> Sight | None:
    """Turn what was measured on the canvas into what the image shows; None if that is nothing. The
    whole thing reaches over ``extent``, also outside the canvas, its ``drawn`` pixels over
    ``inside``; ``seen`` of them are left when everything is painted.
    """
    if not drawn:
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
    return Sight((x0, y0, x1 - x0, y1 - y0), 1 - kept / area, 1 - seen / drawn)


def _over(
    ground: NDArray[np.float32], pixels: NDArray[np.uint8], image_wh: tuple[int, int]
) -> NDArray[np.float32]:
    """Lay the canvas, with soft edges, over the ground."""
    covered = cv2.resize(
        (pixels[..., 3] > 0).astype(np.float32), image_wh, interpolation=cv2.INTER_AREA
    )
    foreground = cv2.resize(pixels[..., :3], image_wh, interpolation=cv2.INTER_AREA)
    result: NDArray[np.float32] = ground * (1 - covered[..., None]) + foreground
    return result


class _Canvas:
    """Pixels of blue, green, red and the number of what was painted there."""

    def __init__(self, camera: Camera, look: Look) -> None:
        width, height = camera.image_wh
        self.camera, self.look = camera, look
        self.pixels = np.zeros((height, width, 4), np.uint8)

    def measure(self, extent: Extent, number: int) -> tuple[Extent, int]:
        """Return where the pixels within ``extent`` that carry ``number`` now reach, and how many
        they are.
        """
        left, top = max(extent[0], 0), max(extent[1], 0)
        mask = self.pixels[top : extent[3] + 1, left : extent[2] + 1, 3] == number
        count = int(np.count_nonzero(mask))
        if not count:
            return (left, top, left, top), 0
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
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
            included; None if nothing of it is on the canvas.
        """
        points, depths = self.camera.project(corners)
        if depths.min() < 1 or self._outside(points.min(axis=0), points.max(axis=0)):
            return None
        pixels = np.floor(np.clip(points, -20000, 20000)).astype(np.int32)
        quads = points[shape.faces]
        first, second = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
        # Counter-clockwise from outside is clockwise in an image whose y points down.
        facing = np.flatnonzero(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0)
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
        centres, radii, tones = tree_puffs(tree, self.look)
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
