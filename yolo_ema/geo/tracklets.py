"""Tracklets: the sightings of one identity in one source, as positions half a second apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.fixes import MOST_FIXES, Fixes, at_its_height
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.sightings import LocatedSource, Sightings

Array = NDArray[np.float64]

BIN_S = 0.5


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
    tracklets: list[Tracklet] = []
    for index, source in enumerate(sources):
        metres = frame.to_metres(
            source.sightings.places.latitude_deg, source.sightings.places.longitude_deg
        )
        for rows in _rows_of(source):
            tracklets.append(_tracklet(source, index, number, rows, metres[rows]))
            number += 1
    return tracklets


def _rows_of(source: LocatedSource) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each identity's placed sightings, in order of their first."""
    sightings = source.sightings
    usable = sightings.placed
    tracked = sightings.track_ids >= 0
    if tracked.any():  # what a tracker has not confirmed is not an object yet
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


def used_rows(sightings: Sightings, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of a tracklet whose boxes the image's border does not cut; all, where it cuts
    each.
    """
    inside = rows[~sightings.at_border[rows]]
    return inside if len(inside) else rows


def _tracklet(
    source: LocatedSource, index: int, number: int, rows: NDArray[np.int64], metres_en: Array
) -> Tracklet:
    sightings = source.sightings
    scores: dict[str, float] = {}
    for row in rows.tolist():
        name = sightings.class_names[row]
        scores[name] = scores.get(name, 0.0) + float(sightings.scores[row])
    used = used_rows(sightings, rows)
    fixes = _fixes(source, index, number, used, metres_en[np.isin(rows, used)])
    return Tracklet(
        at_its_height(fixes, max(scores, key=lambda name: scores[name])),
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
    width = max(BIN_S, float(np.ptp(moments)) / MOST_FIXES)
    places, n = source.sightings.places, len(rows)
    roots = places.pose_changes[rows] * np.sqrt(source.sigmas.variances())
    clock = index if source.start_s is None else -1  # all moments in UTC have one
    fixes = Fixes(
        moments,
        metres_en,
        places.box_covariances[rows],
        places.by_height[rows],
        places.heights_m[rows],
        places.by_shape[rows],
        roots,
        np.full(n, number),
        np.full(n, clock),
    )
    return fixes.averaged(np.floor((moments - moments[0]) / width))
