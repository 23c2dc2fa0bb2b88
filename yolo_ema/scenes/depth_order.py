"""The order of painting, from far to near."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.actors import Actor
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.ground import House, Tree

Array = NDArray[np.float64]


def trees_in_view(trees: Sequence[Tree], camera: Camera) -> list[Tree]:
    """Return the trees that may be in the image, or whose shadow may be."""
    if not trees:
        return []
    places = np.array([tree.position for tree in trees])
    pixels, depths = camera.project(np.column_stack([places, np.zeros(len(trees))]))
    margin = 20 * camera.focal * camera.image_wh[0] / depths[:, None]
    near = ((pixels > -margin) & (pixels < camera.image_wh + margin)).all(axis=1) & (depths > 5)
    return [tree for tree, kept in zip(trees, near.tolist(), strict=True) if kept]


def far_to_near(
    standing: Sequence[House], trees: Sequence[Tree], actors: Sequence[Actor], camera: Camera
) -> list[tuple[Actor | Tree | House, int]]:
    """Return houses, trees and actors, with the actors' indices, in the order of painting.

    Upright things hide what lies farther from the point below the lens. Houses are too large for
    one distance, so each thing is painted before the farthest house that stands between it and the
    lens.
    """
    foot = camera.position[:2]
    items: list[tuple[Actor | Tree, int]] = [
        *((actor, index) for index, actor in enumerate(actors)),
        *((tree, -1) for tree in trees),
    ]
    places = np.array([item.position[:2] for item, _ in items]).reshape(-1, 2)
    nearness = np.array([getattr(item, "order", 0.0) for item, _ in items])
    distances = np.hypot(*(places - foot).T) - nearness
    rects = np.array([house.rect for house in standing]).reshape(-1, 4)
    nearest = np.clip(foot, rects[:, :2], rects[:, 2:])
    houses = np.argsort(-np.hypot(*(nearest - foot).T), kind="stable")
    slots = np.full(len(items), len(houses))
    for slot in reversed(range(len(houses))):
        slots[_behind(rects[houses[slot]], foot, places)] = slot
    keyed: list[tuple[float, float, Actor | Tree | House, int]] = [
        (float(slot), -float(distance), item, index)
        for slot, distance, (item, index) in zip(slots, distances, items, strict=True)
    ]
    keyed += [(slot + 0.5, 0.0, standing[house], -1) for slot, house in enumerate(houses)]
    keyed.sort(key=lambda entry: entry[:2])
    return [(item, index) for _, _, item, index in keyed]


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
