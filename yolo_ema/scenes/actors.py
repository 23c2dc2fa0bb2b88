"""What stands or moves in a town, and what an image shows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.bodies import Body

Array = NDArray[np.float64]


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
        identity: its number throughout a clip, from 1; 0 for members of a crowd, which are not
            counted.
        order: metres by which it is treated as nearer than it is, so that riders are painted over
            what they ride.
    """

    body: Body
    position: tuple[float, float, float]
    heading: float
    scale: tuple[float, float, float]
    palette: Array
    speed: float = 0.0
    identity: int = 0
    order: float = 0.0

    def corners(self) -> Array:
        """Return the corners of its body (V, 3) in world coordinates."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        local = self.body.mesh.corners * self.scale
        turned = np.column_stack(
            [
                local[:, 0] * cos - local[:, 1] * sin,
                local[:, 0] * sin + local[:, 1] * cos,
                local[:, 2],
            ]
        )
        return turned + self.position


@dataclass(frozen=True)
class Sight:
    """What the image shows of an actor.

    Attributes:
        box_ltwh: the box of its own pixels within the image, also of those that something hides.
        cut: share, 0 to 1, of its box that lies outside the image.
        hidden: share, 0 to 1, of its pixels within the image that something nearer covers; 0 for
            things without identity.
    """

    box_ltwh: tuple[int, int, int, int]
    cut: float
    hidden: float
