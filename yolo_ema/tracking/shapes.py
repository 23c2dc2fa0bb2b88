"""Lines and zones in an image, from what a user types."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import ConfigError

__all__ = ["CountLine", "Zone"]

Array = NDArray[np.float64]
Point = tuple[float, float]
ShapeT = TypeVar("ShapeT", bound="_Shape")


@dataclass(frozen=True)
class _Shape:
    """Points with a name.

    Attributes:
        name: counts are reported under it.
        points: x and y of each point, in pixels or in shares of the image's width and height.
        shares: whether the points are shares.
    """

    name: str
    points: tuple[Point, ...]
    shares: bool

    @classmethod
    def from_text(cls: type[ShapeT], text: str, default_name: str) -> ShapeT:
        """Read ``x1,y1,x2,y2,…`` or ``name=x1,y1,x2,y2,…``: shares of the image if no number is
        above 1, else pixels.

        Raises:
            ConfigError: not numbers, not pairs, too few or too many, or points that do not make a
                line or zone.
        """
        name, given, numbers = text.rpartition("=")
        words = numbers.replace(",", " ").split()
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise ConfigError(
                f"{text!r} is not a {cls._kind()}: {error}; expected {cls._expected()}"
            ) from error
        if len(values) % 2 or not all(math.isfinite(value) and value >= 0 for value in values):
            raise ConfigError(
                f"{text!r} is not a {cls._kind()}: expected {cls._expected()}, none below 0"
            )
        if given and not name.strip():
            raise ConfigError(
                f"{text!r} has no name before '='; leave out the '=', or write {cls._expected()}"
            )
        points = cls._corners(tuple(zip(values[::2], values[1::2], strict=True)))
        shape = cls(name.strip() or default_name, points, all(value <= 1 for value in values))
        if problem := shape.problem():
            raise ConfigError(
                f"{text!r} is not a {cls._kind()}: {problem}; expected {cls._expected()}"
            )
        return shape

    def points_in(self, image_wh: tuple[int, int]) -> Array:
        """Return the points (P, 2) in pixels of an image. Raises `ConfigError` if they lie entirely
        outside it.
        """
        points = np.array(self.points) * (image_wh if self.shares else (1, 1))
        if (points.min(axis=0) > image_wh).any():
            raise ConfigError(
                f"{self._kind()} {self.name!r} lies outside the image of "
                f"{image_wh[0]}x{image_wh[1]} pixels: "
                f"{', '.join(f'{x:g},{y:g}' for x, y in points)}"
            )
        return points

    def problem(self) -> str:
        """Return what is wrong with the points, or an empty text."""
        raise TypeError

    @classmethod
    def _corners(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """Return the points that count."""
        return points

    @classmethod
    def _kind(cls) -> str:
        return "line" if cls is CountLine else "zone"

    @classmethod
    def _expected(cls) -> str:
        return (
            "x1,y1,x2,y2 or name=x1,y1,x2,y2"
            if cls is CountLine
            else "x1,y1,x2,y2,x3,y3,… or name=x1,y1,…"
        )


@dataclass(frozen=True)
class CountLine(_Shape):
    """A line from a first to a second point, over which a `Counter` counts.

    Seen from the first point to the second, the ``out`` side is on the left and the ``in`` side on
    the right, as the image shows it: what crosses a line drawn from left to right downwards goes
    ``in``.

    Examples:
        >>> from yolo_ema import CountLine
        >>> CountLine.from_text("gate=0.1,0.5,0.9,0.5", "line 1").points_in((320, 240)).tolist()
        [[32.0, 120.0], [288.0, 120.0]]
    """

    def problem(self) -> str:
        """Return what is wrong with the points."""
        if len(self.points) != 2:
            return f"it has {len(self.points)} points"
        return "both points are the same" if self.points[0] == self.points[1] else ""


@dataclass(frozen=True)
class Zone(_Shape):
    """An area with three corners or more, whose border does not cross itself. As text it may be a
    closed ring, whose last point repeats the first, and points may be repeated.

    Examples:
        >>> from yolo_ema import Zone
        >>> Zone.from_text("lot=0,0,0.4,0,0.4,0.3", "zone 1").name
        'lot'
    """

    def problem(self) -> str:
        """Return what is wrong with the points."""
        if len(self.points) < 3:
            return f"it has {len(self.points)} point{'' if len(self.points) == 1 else 's'}"
        borders = list(zip(self.points, (*self.points[1:], self.points[0]), strict=True))
        for (number, border), (later, other) in itertools.combinations(enumerate(borders), 2):
            neighbours = later - number == 1 or later - number == len(borders) - 1
            if not neighbours and _cross(*border, *other):
                return "its border crosses itself"
        x, y = np.array(self.points).T
        area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
        return (
            "its points lie on one line"
            if area < 1e-9 * max(1.0, float(np.ptp(x) * np.ptp(y)))
            else ""
        )

    @classmethod
    def _corners(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """Return the points without those that equal the one before, nor a last one that closes the
        ring.
        """
        corners = [point for point, _ in itertools.groupby(points)]
        if len(corners) > 1 and corners[-1] == corners[0]:
            corners.pop()
        return tuple(corners)


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Say whether the segments from a to b and from c to d cross or touch."""

    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    apart = side(a, b, c) * side(a, b, d) > 0 or side(c, d, a) * side(c, d, b) > 0
    boxes_apart = any(
        max(a[k], b[k]) < min(c[k], d[k]) or max(c[k], d[k]) < min(a[k], b[k]) for k in (0, 1)
    )
    return not apart and not boxes_apart
