"""Objects, not boxes: each object of a flight once, with its place, path and speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.fixes import mean_fix
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.joining import GroundObject, join
from yolo_ema.geo.motion_fit import Motion, motion_of
from yolo_ema.geo.sightings import LocatedSource
from yolo_ema.geo.tracklets import tracklets_of, used_rows
from yolo_ema.geo.uncertainty import Ellipse, ellipse_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MapObject:
    """One object on the map.

    Attributes:
        number: from 1.
        class_name: with the largest sum of scores.
        class_scores: that sum by class.
        latitude_deg, longitude_deg: where it stands; of a moving one where it was last.
        covariance: (2, 2) of that, metres east and north.
        motion: whether and how it moves.
        path_deg: (m, 2) longitude and latitude of a moving one, in order of time; else empty.
        path_moments_s: (m,) of the path.
        sightings: how many.
        tracklets: for each time it was seen, the source, the number of the identity and how many
            sightings.
        moments_s: when it was seen first and last.
        rows: by number of the source, the rows of its sightings.
    """

    number: int
    class_name: str
    class_scores: dict[str, float]
    latitude_deg: float
    longitude_deg: float
    covariance: Array
    motion: Motion
    path_deg: Array
    path_moments_s: Array
    sightings: int
    tracklets: tuple[tuple[str, int | None, int], ...]
    moments_s: tuple[float, float]
    rows: dict[int, NDArray[np.int64]]

    @property
    def ellipse(self) -> Ellipse:
        """The 95 % error ellipse."""
        return ellipse_of(self.covariance)


def map_objects(sources: Sequence[LocatedSource], *, unique: bool = True) -> list[MapObject]:
    """Return the objects that the placed sightings of a flight show.

    Args:
        sources: the videos and images of one flight.
        unique: join what was seen again, see `joining`; otherwise each identity of each source is
            one object.
    """
    placed = [source.sightings for source in sources if source.sightings.placed.any()]
    if not placed:
        return []
    frame = LocalFrame.around(
        np.concatenate([rows.places.latitude_deg[rows.placed] for rows in placed]),
        np.concatenate([rows.places.longitude_deg[rows.placed] for rows in placed]),
    )
    tracklets = tracklets_of(sources, frame)
    if unique:
        objects = join(tracklets)
    else:
        objects = [
            GroundObject([track], track.fixes, motion_of(track.fixes)) for track in tracklets
        ]
    return [
        _as_object(number, joined, sources, frame) for number, joined in enumerate(objects, start=1)
    ]


def _as_object(
    number: int, joined: GroundObject, sources: Sequence[LocatedSource], frame: LocalFrame
) -> MapObject:
    motion = _motion(joined)
    path, path_moments = np.zeros((0, 2)), np.zeros(0)
    if motion.is_moving and motion.last is not None:
        late_s = _last_used_s(joined, sources) - motion.last.end_s
        metres, covariance = motion.last.after(max(0.0, late_s))
        latitudes, longitudes = frame.to_degrees(joined.fixes.metres_en)
        path, path_moments = np.column_stack([longitudes, latitudes]), joined.fixes.moments_s
    else:
        metres, covariance = mean_fix(joined.fixes)
    latitude, longitude = frame.to_degrees(metres[None])
    rows: dict[int, list[NDArray[np.int64]]] = {}
    for tracklet in joined.tracklets:
        rows.setdefault(tracklet.source, []).append(tracklet.rows)
    moments = np.concatenate(
        [sources[t.source].sightings.moments_s[t.rows] for t in joined.tracklets]
    )
    return MapObject(
        number=number,
        class_name=joined.class_name,
        class_scores=joined.class_scores,
        latitude_deg=float(latitude[0]),
        longitude_deg=float(longitude[0]),
        covariance=covariance,
        motion=motion,
        path_deg=path,
        path_moments_s=path_moments,
        sightings=sum(len(tracklet.rows) for tracklet in joined.tracklets),
        tracklets=_seen(joined, sources),
        moments_s=(float(moments.min()), float(moments.max())),
        rows={source: np.concatenate(parts) for source, parts in rows.items()},
    )


def _last_used_s(joined: GroundObject, sources: Sequence[LocatedSource]) -> float:
    """Return the moment of the last sighting that its positions are made of, the last of which is a
    mean over half a second: on the clock of that one, and not cut by the image's border.
    """
    clock, last_s = joined.fixes.clocks[-1], -np.inf
    for tracklet in joined.tracklets:
        if tracklet.fixes.clocks[-1] == clock:
            sightings = sources[tracklet.source].sightings
            used = used_rows(sightings, tracklet.rows)
            last_s = max(last_s, float(sightings.moments_s[used].max()))
    return last_s


def _seen(
    joined: GroundObject, sources: Sequence[LocatedSource]
) -> tuple[tuple[str, int | None, int], ...]:
    """Return source, identity and number of sightings for each time it was seen."""
    counts: Counter[tuple[str, int | None]] = Counter()
    for tracklet in joined.tracklets:
        identity = tracklet.track_id if tracklet.track_id >= 0 else None
        counts[sources[tracklet.source].name, identity] += len(tracklet.rows)
    return tuple((name, identity, count) for (name, identity), count in counts.items())


def _motion(joined: GroundObject) -> Motion:
    """Return how an object moves that may have been seen several times."""
    if len(joined.tracklets) == 1:
        return joined.motion
    if len(set(joined.fixes.clocks.tolist())) == 1:
        motion = motion_of(joined.fixes)
        return motion if motion.is_moving or not joined.motion.is_moving else joined.motion
    # Found again in its place, on a clock that is not known.
    return joined.motion if joined.motion.is_moving is not None else Motion(False, 0.0)
