"""The shapes of trees and houses."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.ground import House, Tree
from yolo_ema.scenes.light import Look
from yolo_ema.scenes.meshes import Mesh, Part, box, mesh

Array = NDArray[np.float64]


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


def tree_puffs(tree: Tree, look: Look) -> tuple[Array, Array, Array]:
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
def house_mesh(house: House) -> tuple[Mesh, Array]:
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
