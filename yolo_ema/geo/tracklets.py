"""Tracklets: the sightings of one identity in one source, as positions half a second apart.

Errors of neighbouring sightings are alike, and averaging does not remove what they share. Of the
variance of a pose half is the same throughout a flight, and half fades within a minute; of that of
a box half is the same throughout a tracklet, and half changes from one position to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.sightings import LocatedSource

__all__ = ["BIN_S", "SHARED", "Fixes", "Tracklet", "mean_fix", "tracklets_of"]

Array = NDArray[np.float64]

BIN_S = 0.5
SHARED = 0.5
"""Share of the variance of a pose, and of a box, that does not fade."""

_FADES_S = 60.0
_MOST_BINS = 120


@dataclass(frozen=True)
class Fixes:
    """Positions of one object in order of time, n of them.

    Attributes:
        moments_s: (n,) see `Sightings.moments_s`.
        metres_en: (n, 2) in the flight's local frame.
        box_covariances: (n, 2, 2) the part of the boxes.
        pose_roots: (n, 2, 7) how the position moves with each of the pose's quantities, a standard
            deviation of it.
        tracklets: (n,) the number of the tracklet.
        clocks: (n,) the number of the clock: −1 for UTC, or else that of the source.
    """

    moments_s: Array
    metres_en: Array
    box_covariances: Array
    pose_roots: Array
    tracklets: NDArray[np.int64]
    clocks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.moments_s)

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Fixes:
        return Fixes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def covariances(self) -> Array:
        """Return (n, 2, 2): of each position for itself."""
        return self.box_covariances + self.pose_roots @ np.swapaxes(self.pose_roots, 1, 2)

    def and_(self, other: Fixes) -> Fixes:
        """Return both."""
        names = self.__dataclass_fields__
        return Fixes(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))

    def averaged(self, bins: ArrayLike) -> Fixes:
        """Return one position for each number in ``bins`` (n,), as sure as those it is made of."""
        _, first, place = np.unique(bins, return_index=True, return_inverse=True)
        counts = np.bincount(place)

        def mean(column: Array) -> Array:
            total = np.zeros((len(counts), *column.shape[1:]))
            np.add.at(total, place, column)
            return total / counts.reshape(-1, *(1 for _ in column.shape[1:]))

        return Fixes(
            mean(self.moments_s),
            mean(self.metres_en),
            mean(self.box_covariances),
            mean(self.pose_roots),
            self.tracklets[first],
            self.clocks[first],
        )

    def thinned(self) -> Fixes:
        """Return at most a few hundred positions, neighbours averaged."""
        if len(self) <= 2 * _MOST_BINS:
            return self
        return self.averaged(np.arange(len(self)) // -(-len(self) // _MOST_BINS))

    def combined(self, weights: Array) -> Array:
        """Return the covariance (2, 2) of Σ weights · positions, weights (n, 2, 2), given what
        their errors share.
        """
        moved = (weights @ self.pose_roots).reshape(len(self), -1)  # (n, 14)
        shared = self._pose_correlation() @ moved
        pose = np.einsum("nik,njk->ij", moved.reshape(-1, 2, 7), shared.reshape(-1, 2, 7))
        return pose + self.combined_boxes(weights)

    def combined_boxes(self, weights: Array) -> Array:
        """Return the part of that which boxes have."""
        roots = weights @ _roots(self.box_covariances)
        own = np.einsum("nik,njk->ij", roots, roots)
        _, place = np.unique(self.tracklets, return_inverse=True)
        sums = np.zeros((int(place.max()) + 1, 2, 2))
        np.add.at(sums, place, roots)
        return (1 - SHARED) * own + SHARED * np.einsum("nik,njk->ij", sums, sums)

    def _pose_correlation(self) -> Array:
        apart = np.abs(self.moments_s[:, None] - self.moments_s[None])
        apart = np.where(self.clocks[:, None] == self.clocks[None], apart, np.inf)
        return correlation(apart)


def correlation(apart_s: Array) -> Array:
    """Return how errors of poses are correlated that lie so many seconds apart."""
    return SHARED + (1 - SHARED) * np.exp(-apart_s / _FADES_S)


def _roots(covariances: Array) -> Array:
    values, vectors = np.linalg.eigh(covariances)
    return (vectors * np.sqrt(np.maximum(values, 0))[:, None, :]) @ np.swapaxes(vectors, 1, 2)


def mean_fix(fixes: Fixes) -> tuple[Array, Array]:
    """Return the mean of positions, weighted by how sure each is, and its covariance (2, 2)."""
    weights = np.linalg.inv(fixes.covariances() + np.eye(2) * 1e-8)
    weights = np.linalg.inv(weights.sum(axis=0)) @ weights
    return np.einsum("nij,nj->i", weights, fixes.metres_en), fixes.combined(weights)


@dataclass(frozen=True)
class Tracklet:
    """The placed sightings of one identity in one source, or a single one without identity.

    Attributes:
        fixes: its positions, half a second apart.
        rows: (m,) its sightings in those of the source.
        boxes: (4,) pixels, by the number of the frame.
        class_scores: sum of scores by class.
        source: number of the source in the flight.
        track_id: −1 for a single sighting.
    """

    fixes: Fixes
    rows: NDArray[np.int64]
    boxes: dict[int, Array]
    class_scores: dict[str, float]
    source: int
    track_id: int


def tracklets_of(sources: Sequence[LocatedSource], frame: LocalFrame) -> list[Tracklet]:
    """Return the tracklets of all sources by the time of their first sighting, source after
    source; sightings that the image's border cuts count only where a tracklet has no others.
    """
    number = 0
    found: list[Tracklet] = []
    for index, source in enumerate(sources):
        metres = frame.to_metres(
            source.sightings.places.latitude_deg, source.sightings.places.longitude_deg
        )
        for rows in _rows_of(source):
            found.append(_tracklet(source, index, number, rows, metres[rows]))
            number += 1
    return found


def _rows_of(source: LocatedSource) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each identity's placed sightings, in order of their first."""
    sightings = source.sightings
    usable = sightings.placed
    tracked = sightings.track_ids >= 0
    if tracked.any():  # what a tracker has not confirmed is no object
        usable = usable & tracked
    elif source.is_video:
        usable = usable & np.isin(sightings.frames, _every_half_second(source))
    placed = np.flatnonzero(usable)
    groups: dict[tuple[str, int], list[int]] = {}
    for row in placed.tolist():
        track_id = int(sightings.track_ids[row])
        key = ("track", track_id) if track_id >= 0 else ("row", row)
        groups.setdefault(key, []).append(row)
    for rows in groups.values():
        yield np.array(rows)


def _every_half_second(source: LocatedSource) -> list[int]:
    """Return the numbers of the first frame of each half second: where nothing is tracked, objects
    are made of these alone.
    """
    first: dict[int, int] = {}
    for frame in source.frames:
        first.setdefault(int(frame.time_s // BIN_S), frame.frame)
    return list(first.values())


def _tracklet(
    source: LocatedSource, index: int, number: int, rows: NDArray[np.int64], metres_en: Array
) -> Tracklet:
    sightings = source.sightings
    scores: dict[str, float] = {}
    for row in rows.tolist():
        name = sightings.class_names[row]
        scores[name] = scores.get(name, 0.0) + float(sightings.scores[row])
    whole = ~sightings.at_border[rows]
    used = whole if whole.any() else np.ones(len(rows), bool)
    return Tracklet(
        _fixes(source, index, number, rows[used], metres_en[used]),
        rows,
        dict(zip(sightings.frames[rows].tolist(), sightings.boxes_xyxy[rows], strict=True)),
        scores,
        index,
        int(sightings.track_ids[rows[0]]),
    )


def _fixes(
    source: LocatedSource, index: int, number: int, rows: NDArray[np.int64], metres_en: Array
) -> Fixes:
    """Return positions averaged over half a second, or longer for very long tracks."""
    moments = source.sightings.moments_s[rows]
    width = max(BIN_S, float(np.ptp(moments)) / _MOST_BINS)
    places, n = source.sightings.places, len(rows)
    roots = places.pose_changes[rows] * np.sqrt(source.sigmas.variances())
    clock = -1 if source.has_utc else index
    every = Fixes(
        moments,
        metres_en,
        places.box_covariances[rows],
        roots,
        np.full(n, number),
        np.full(n, clock),
    )
    return every.averaged(np.floor((moments - moments[0]) / width))
