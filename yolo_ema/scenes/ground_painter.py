"""Paints a town's ground: its colours, its texture and the shadows on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.actors import Actor
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.ground import House, Tree
from yolo_ema.scenes.light import Look, texture
from yolo_ema.scenes.scenery import house_mesh, tree_puffs
from yolo_ema.scenes.town import Town

Array = NDArray[np.float64]

FINE = 2
"""Pixels of the canvas per pixel of the image, each way."""

# Strength of the fine and of the coarse texture for each of ground.MATERIALS.
_FINE_GRAIN = np.array([0.05, 0.05, 0.15, 0.04, 0.035, 0.1], np.float32)
_COARSE_GRAIN = np.array([0.05, 0.05, 0.13, 0.05, 0.04, 0.08], np.float32)


def paint_ground(town: Town, fine: Camera, camera: Camera, look: Look) -> NDArray[np.float32]:
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


def sunlight_on_ground(
    things: Sequence[House | Tree | Actor], fine: Camera, look: Look
) -> NDArray[np.float32]:
    """Return (H, W) of the image: 1 in the sun, less in a cast shadow."""
    width, height = fine.image_wh
    if not look.shadow:
        return np.ones((height // FINE, width // FINE), np.float32)
    mask = np.zeros((height, width), np.uint8)
    lean = -np.array(look.sun[:2]) / look.sun[2]
    for caster in things:
        if isinstance(caster, Tree):
            _tree_shadow(mask, caster, fine, look, lean)
            continue
        corners = house_mesh(caster)[0].corners if isinstance(caster, House) else caster.corners()
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
    centres, radii, _ = tree_puffs(tree, look)
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
