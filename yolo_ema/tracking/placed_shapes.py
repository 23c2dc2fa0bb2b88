"""Lines and zones where a frame has them, and what they have counted."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_ema.tracking.clipping import clip_polygon, homogeneous

Array = NDArray[np.float64]

_MOST_MARGIN = 0.5
"""In a zone at most this share of its area by its perimeter, about a quarter of a lane's width:
else a box twice as wide as the lane could never be inside.
"""


@dataclass
class PlacedLine:
    """A line's counts by class, and on which side each identity surely was last.

    Attributes:
        ends: (2, 2) pixels of the first frame.
        now: the ends in this frame, (2, 3) homogeneous: one or both may be behind the camera.
    """

    ends: Array
    now: Array = field(init=False)
    counts: dict[str, Tally[int]] = field(default_factory=lambda: {"in": Tally(), "out": Tally()})
    sides: dict[int, int] = field(default_factory=dict)
    through: dict[int, bool] = field(default_factory=dict)
    """Whether an identity's point last changed sides between the line's ends, not beyond them."""

    def place(self, ground: Array) -> None:
        """Move the line to where ``ground``, (3, 3) from the first frame's pixels, maps it."""
        self.now = homogeneous(self.ends) @ ground.T
        across = np.cross(self.now[0], self.now[1])
        # The line through both ends may lie at infinity, where it has no direction.
        length = max(float(np.hypot(across[0], across[1])), 1e-12 * float(np.linalg.norm(across)))
        self._across = across / length

    def update(
        self, track_id: int, before: Array | None, point: Array, margin: float, class_id: int
    ) -> None:
        """Count an object that moved from ``before`` to ``point``, (3,) homogeneous."""
        # to the right of the line, as the image shows it; negative to the left
        distance = float(self._across @ point)
        if before is not None:
            last = float(self._across @ before)
            if (last < 0) != (distance < 0):
                self.through[track_id] = self._between(
                    before * abs(distance) + point * abs(last)  # where the way meets the line
                )
        if abs(distance) <= margin:
            return
        side = 1 if distance > 0 else -1
        if self.sides.get(track_id, side) != side and self.through.get(track_id, False):
            self.counts["in" if side > 0 else "out"][class_id] += 1
        self.sides[track_id] = side

    def _between(self, meeting: Array) -> bool:
        """Say whether a point of the line, (3,) homogeneous, lies between its ends: whether it is a
        sum of both with no negative share. That holds behind the camera as well.
        """
        first, second = self.now
        return bool(
            np.cross(meeting, second) @ self._across >= 0
            and np.cross(first, meeting) @ self._across >= 0
        )


@dataclass
class PlacedZone:
    """A zone's counts by class, and which identities are inside.

    Attributes:
        border: (P, 2) pixels of the first frame.
        image_wh: the first frame's size, pixels.
        outline: what of it is in or near this frame, (Q, 2) pixels; none if it is out of view.
    """

    border: Array
    image_wh: tuple[int, int]
    outline: Array = field(init=False)
    counts: dict[str, Tally[int]] = field(
        default_factory=lambda: {"entered": Tally(), "left": Tally(), "visitors": Tally()}
    )
    inside: dict[int, bool] = field(default_factory=dict)
    visited: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Find what counts as inside while the zone is fixed in the image."""
        self._beyond = beyond_image(self.border, self.image_wh)

    def place(self, ground: Array, window_xyxy: Array, *, in_image: bool) -> None:
        """Move the zone to where ``ground``, (3, 3) from the first frame's pixels, maps it, and cut
        it to a window; ``in_image`` while it is fixed in the image, whatever size that has.
        """
        self.outline = clip_polygon(homogeneous(self.border) @ ground.T, window_xyxy)
        outline = self.outline.astype(np.float32)  # as OpenCV takes it
        self._most_margin = 0.0
        if len(outline) > 2:
            perimeter = max(cv2.arcLength(outline, closed=True), 1e-9)
            self._most_margin = _MOST_MARGIN * cv2.contourArea(outline) / perimeter
        if in_image:
            beyond = clip_polygon(homogeneous(self._beyond) @ ground.T, window_xyxy)
            outline = beyond.astype(np.float32)
        self._outline_f32 = outline

    def update(self, track_id: int, point: Array, margin: float, class_id: int) -> None:
        """Count an object at ``point``, (3,) homogeneous."""
        depth = -np.inf
        if len(self._outline_f32):
            depth = cv2.pointPolygonTest(
                self._outline_f32, (float(point[0]), float(point[1])), measureDist=True
            )
        if abs(depth) <= min(margin, self._most_margin):
            return
        inside = depth > 0
        if self.inside.get(track_id, inside) != inside:
            self.counts["entered" if inside else "left"][class_id] += 1
        self.inside[track_id] = inside
        if inside and track_id not in self.visited:
            self.visited.add(track_id)
            self.counts["visitors"][class_id] += 1


def beyond_image(border: Array, image_wh: tuple[int, int]) -> Array:
    """Return a zone (P, 2), in pixels, that goes on beyond the image where it ends with it, (Q, 2).

    An object that the image's border cuts goes on there, too: its point may lie on that border, but
    the object is not on the border of the zone.
    """
    ends = np.stack([border <= 0, border >= np.array(image_wh) - 1], axis=1)  # (P, 2, 2): end, axis
    after = ends & np.roll(ends, -1, axis=0)  # the image's borders on which the next edge lies
    outwards = np.array([-1.0, 1.0])[:, None, None] * np.eye(2) * max(image_wh) / 2
    corners: list[Array] = []
    for corner, before, then in zip(border, np.roll(after, 1, axis=0), after, strict=True):
        outer = corner + outwards[before | then].sum(axis=0)
        if not then.any():
            corners += [outer, corner] if before.any() else [corner]
        else:
            corners += [outer] if before.any() else [corner, outer]
    return np.array(corners)
