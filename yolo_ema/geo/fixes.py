"""Positions of one object, what their errors share, and where the object stands by all of them.

Errors of neighbouring positions are alike, and averaging does not remove what they share. Of the
variance of a pose a tenth changes from one position to the next; of the rest, half is the same
throughout a flight, and half fades within a minute. Of that of a box half is the same throughout a
tracklet, and half changes. The object itself has one height, which moves its places one way when it
is seen from the south, and the other from the north: so that they tell it, solved for together.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_ema.geo.class_sizes import CLASS_SIZES
from yolo_ema.geo.uncertainty import CHI2_50, CHI2_99, SHARED

Array = NDArray[np.float64]

MOST_FIXES = 120
"""A track is averaged to about so many positions."""

_FADES_S = 60.0
_JUMPS = 0.1
_OF_ONE_SIDE = 0.8
_ROUNDS = 8


@dataclass(frozen=True)
class Fixes:
    """Positions of one object in order of time, n of them.

    Attributes:
        moments_s: (n,) see `Sightings.moments_s`.
        metres_en: (n, 2) in the flight's local frame.
        box_covariances: (n, 2, 2) the part of the boxes, the object apart.
        by_height: (n, 2) how the position moves with that height, metres a metre.
        heights_m: (n, 2) the height that is assumed, and its standard deviation.
        by_shape: (n, 2, 2) how far the object's shape may put the position off: the rows, a
            standard deviation each, see `BetweenEdges`.
        pose_roots: (n, 2, 7) how far the position moves with one standard deviation of each of the
            pose's quantities.
        tracklets: (n,) the number of the tracklet.
        clocks: (n,) the number of the clock: −1 for UTC, or else that of the source.
    """

    moments_s: Array
    metres_en: Array
    box_covariances: Array
    by_height: Array
    heights_m: Array
    by_shape: Array
    pose_roots: Array
    tracklets: NDArray[np.int64]
    clocks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.moments_s)

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Fixes:
        return Fixes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def of_height(self, height_m: float, sigma_m: float) -> Fixes:
        """Return the positions of an object of that height, with its standard deviation."""
        grown = height_m - self.heights_m[:, :1]
        return replace(
            self,
            metres_en=self.metres_en + self.by_height * grown,
            heights_m=np.tile((height_m, sigma_m), (len(self), 1)),
        )

    def covariances(self) -> Array:
        """Return (n, 2, 2): of each position for itself."""
        places = np.arange(len(self))
        return self.joint[places, :, places]

    @functools.cached_property
    def joint(self) -> Array:
        """(n, 2, n, 2) the covariance of all positions, given what their errors share."""
        return self.joint_of_poses + self.joint_of_boxes

    @functools.cached_property
    def joint_of_poses(self) -> Array:
        """(n, 2, n, 2) the part of the poses."""
        gaps_s = np.abs(self.moments_s[:, None] - self.moments_s[None])
        gaps_s = np.where(self.clocks[:, None] == self.clocks[None], gaps_s, np.inf)
        return _correlated(self.pose_roots, _mostly(correlation(gaps_s), 1 - _JUMPS))

    @functools.cached_property
    def own(self) -> Array:
        """(n, 2, 2) the part of each position's covariance that no other shares."""
        poses = self.pose_roots @ np.swapaxes(self.pose_roots, 1, 2)
        return (1 - SHARED) * self.box_covariances + _JUMPS * poses

    @functools.cached_property
    def joint_of_boxes(self) -> Array:
        """(n, 2, n, 2) the part of the boxes: an object has one height, and a shape that is the
        same from one side and another from the other; of what boxes add to that, half is the same
        throughout a tracklet.
        """
        same = self.tracklets[:, None] == self.tracklets[None]
        joint = _correlated(_roots(self.box_covariances), _mostly(same, SHARED))
        height = self.by_height * self.heights_m[:, 1:]
        joint += np.multiply.outer(height, height)
        for shifts in np.moveaxis(self.by_shape, 1, 0):
            sides = shifts / np.maximum(np.hypot(*shifts.T), 1e-12)[:, None]
            alike = (1 + sides @ sides.T) / 2
            joint += _correlated(shifts[..., None], _mostly(alike, _OF_ONE_SIDE))
        return joint

    def and_(self, other: Fixes) -> Fixes:
        """Return both."""
        names = self.__dataclass_fields__
        return Fixes(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))

    def averaged(self, bins: ArrayLike) -> Fixes:
        """Return one position for each number in ``bins`` (n,), as sure as those it is made of."""
        _, first, group = np.unique(bins, return_index=True, return_inverse=True)
        counts = np.bincount(group)

        def mean(column: Array) -> Array:
            total = np.zeros((len(counts), *column.shape[1:]))
            np.add.at(total, group, column)
            return total / counts.reshape(-1, *(1 for _ in column.shape[1:]))

        exact = {"tracklets", "clocks"}
        columns: list[Any] = [
            getattr(self, name)[first] if name in exact else mean(getattr(self, name))
            for name in self.__dataclass_fields__
        ]
        return Fixes(*columns)

    def thinned(self) -> Fixes:
        """Return at most a few hundred positions, neighbours averaged."""
        if len(self) <= 2 * MOST_FIXES:
            return self
        return self.averaged(np.arange(len(self)) // -(-len(self) // MOST_FIXES))

    def combined(self, weights: Array) -> Array:
        """Return the covariance (k, k) of Σ weights · positions, weights (n, k, 2)."""
        return _combined(self.joint, weights)

    def combined_boxes(self, weights: Array) -> Array:
        """Return the part of that which boxes have."""
        return _combined(self.joint_of_boxes, weights)


def _correlated(roots: Array, correlations: Array) -> Array:
    """Return (n, 2, n, 2): the covariance that roots (n, 2, k) make of errors with these
    correlations (n, n).
    """
    return np.tensordot(roots, roots, (2, 2)) * correlations[:, None, :, None]


def _mostly(correlations: Array, share: float) -> Array:
    """Return correlations (n, n) of errors whose rest is each one's own."""
    return share * correlations + (1 - share) * np.eye(len(correlations))


def _combined(joint: Array, weights: Array) -> Array:
    wide = np.swapaxes(weights, 0, 1).reshape(weights.shape[1], -1)
    return wide @ joint.reshape(wide.shape[1], -1) @ wide.T


def correlation(apart_s: Array) -> Array:
    """Return how errors of poses are correlated that lie so many seconds apart."""
    return SHARED + (1 - SHARED) * np.exp(-apart_s / _FADES_S)


def _roots(covariances: Array) -> Array:
    values, vectors = np.linalg.eigh(covariances)
    return (vectors * np.sqrt(np.maximum(values, 0))[:, None, :]) @ np.swapaxes(vectors, 1, 2)


def mean_fix(fixes: Fixes, *, rounds: int = _ROUNDS) -> tuple[Array, Array]:
    """Return where an object stands, and the covariance (2, 2) of that: the generalised least
    squares of its positions, given what their errors share.

    Where positions contradict each other, what each has of its own is widened: first that of the
    few which all others contradict at 99 %, then that of all, by how much the median of these tests
    exceeds its expectation.

    Args:
        fixes: at least one.
        rounds: how often the place is solved for at most.
    """
    count, places = len(fixes), np.arange(len(fixes))
    own = fixes.own + np.eye(2) * 1e-8
    for _ in range(rounds):
        joint = fixes.joint.copy()
        joint[places, :, places] += own - fixes.own
        precision = np.linalg.inv(joint.reshape(2 * count, -1))
        summed = precision.reshape(2 * count, count, 2).sum(axis=1)  # (2n, 2)
        covariance = np.linalg.inv(summed.reshape(count, 2, 2).sum(axis=0))
        mean = covariance @ summed.T @ fixes.metres_en.ravel()
        if count == 1:
            break
        rest = (precision - summed @ covariance @ summed.T).reshape(count, 2, count, 2)
        off = (precision @ (fixes.metres_en - mean).ravel()).reshape(count, 2)
        tests = np.einsum("ni,nij,nj->n", off, np.linalg.inv(rest[places, :, places]), off)
        excess, of_all = tests / CHI2_99, max(float(np.median(tests)) / CHI2_50, 1.0)
        odd = excess > of_all
        if of_all == 1 and not odd.any():
            break
        own = own * np.where(odd, excess, 1.0 if odd.any() else of_all)[:, None, None]
    return mean, covariance


def at_its_height(fixes: Fixes, class_name: str) -> Fixes:
    """Return positions of an object that is as high as its class, where that has a known size."""
    size = CLASS_SIZES.get(class_name)
    return fixes if size is None else fixes.of_height(size.high_m, size.sigma_m)
