"""Coverage: which ground a flight has seen, from when to when, and how finely."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.camera_heights import FlightGround
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.outlines import outlines
from yolo_ema.geo.sightings import LocatedSource, view_of, views_of
from yolo_ema.geo.surface_model import SurfaceModel
from yolo_ema.geo.views import Views

Array = NDArray[np.float64]

COVERAGE_DEPRESSION_DEG = 10.0
"""Ground seen at a smaller angle below the horizon does not count as covered."""

GSD_BANDS_M = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf)
"""Ground is grouped by its finest ground sampling distance between these, metres a pixel."""

_EVERY_S = 0.5
_LEAST_CELL_M = 1.0
_MOST_CELLS = 250_000
_MOST_CELLS_ON_MODEL = 40_000
_STEPS_TO_GROUND = 24
_CLEARANCE_M = 1.0


@dataclass(frozen=True)
class CoverageArea:
    """Ground that one video, or neighbouring single images, have seen about equally finely.

    Attributes:
        sources: which.
        gsd_from_m, gsd_to_m: its finest ground sampling distance lies between, metres a pixel.
        first_s, last_s: from when to when, see `Sightings.moments_s`.
        square_metres: its size.
        polygons_deg: polygons of rings of longitude and latitude, outer ones counter-clockwise.
    """

    sources: tuple[str, ...]
    gsd_from_m: float
    gsd_to_m: float
    first_s: float
    last_s: float
    square_metres: float
    polygons_deg: list[list[list[tuple[float, float]]]]


class _Shot(NamedTuple):
    """A frame whose view is complete."""

    views: Views
    camera: CameraIntrinsics
    moment_s: float


def coverage_of(
    sources: Sequence[LocatedSource], *, most_gsd_m: float
) -> tuple[list[CoverageArea], float]:
    """Return the ground that a flight has seen, and the width of the widest cells that it is made
    of: each video, and single images that may show the same ground, have cells of their own.

    Args:
        sources: its videos and images; of a video two frames a second are taken.
        most_gsd_m: ground counts where a pixel covers no more, in metres.
    """
    groups: dict[tuple[str, int], list[LocatedSource]] = {}
    for source in sources:
        video = source.name if source.is_video else ""
        groups.setdefault((video, id(source.ground)), []).append(source)
    areas, cell_m = [], 0.0
    for group in groups.values():
        pairs = [(shot, source.name) for source in group for shot in _shots(source)]
        for numbers in _neighbours([shot for shot, _ in pairs], most_gsd_m, group[0].ground):
            shots = [pairs[number][0] for number in numbers]
            grid = _Grid.around(shots, most_gsd_m, group[0].ground)
            seen = _Seen(grid)
            for shot, place in zip(shots, _places(shots, grid.frame), strict=True):
                seen.add(shot, place, most_gsd_m)
            areas += seen.areas(tuple(dict.fromkeys(pairs[number][1] for number in numbers)))
            cell_m = max(cell_m, grid.cell_m)
    return areas, cell_m


def _neighbours(shots: Sequence[_Shot], most_gsd_m: float, ground: FlightGround) -> list[list[int]]:
    """Return the numbers of the shots that may show the same ground, by themselves or by way of
    others: one grid around places far apart would have cells larger than what a shot shows.
    """
    if not shots:
        return []
    places = _places(shots, LocalFrame.around(*_latitudes_longitudes(shots)))
    reach = _reaches_m(shots, most_gsd_m, ground)
    groups, left = [], np.arange(len(shots))
    while len(left):
        group, found = [], left[:1]
        left = left[1:]
        while len(found):
            number, found = found[0], found[1:]
            group.append(int(number))
            apart = np.abs(places[left] - places[number]).max(axis=1)
            near = apart <= reach[left] + reach[number]
            found, left = np.append(found, left[near]), left[~near]
        groups.append(sorted(group))
    return groups


def _shots(source: LocatedSource) -> list[_Shot]:
    shots, last = [], -math.inf
    for frame in source.frames:
        if source.is_video and frame.time_s - last < _EVERY_S - 1e-6:
            continue
        usable = view_of(frame, source.ground)
        if isinstance(usable, str):
            continue
        last = frame.time_s
        shots.append(_Shot(views_of([usable]), usable[2], frame.time_s + (source.start_s or 0.0)))
    return shots


def _latitudes_longitudes(shots: Sequence[_Shot]) -> Array:
    pairs = [(shot.views.latitude_deg[0], shot.views.longitude_deg[0]) for shot in shots]
    return np.array(pairs).reshape(-1, 2).T


def _places(shots: Sequence[_Shot], frame: LocalFrame) -> Array:
    """Return (n, 2): metres east and north of where shots were taken."""
    return frame.to_metres(*_latitudes_longitudes(shots))


class _Grid:
    """Square cells of ground around a flight."""

    def __init__(
        self, frame: LocalFrame, low_en: Array, shape: tuple[int, int], cell_m: float
    ) -> None:
        self.frame, self.low_en, self.shape, self.cell_m = frame, low_en, shape, cell_m
        self.ground_m: Array | None = None
        self.model: SurfaceModel | None = None

    @classmethod
    def around(cls, shots: Sequence[_Shot], most_gsd_m: float, ground: FlightGround) -> _Grid:
        """Return a grid that holds all that the shots can see, of at most so many cells."""
        frame = LocalFrame.around(*_latitudes_longitudes(shots))
        places = _places(shots, frame)
        model = ground.ground if isinstance(ground.ground, SurfaceModel) else None
        reach = _reaches_m(shots, most_gsd_m, ground)[:, None]
        low, high = (places - reach).min(axis=0), (places + reach).max(axis=0)
        most = _MOST_CELLS_ON_MODEL if model else _MOST_CELLS
        cell_m = max(_LEAST_CELL_M, math.sqrt(float(np.prod(high - low)) / most))
        columns, rows = np.ceil((high - low) / cell_m).astype(int) + 1
        grid = cls(frame, low, (int(rows), int(columns)), cell_m)
        if model is not None:
            grid.model = model
            latitudes, longitudes = frame.to_degrees(grid.middles(slice(None), slice(None)))
            heights = model.sample(*model.to_cells(longitudes, latitudes))
            grid.ground_m = np.where(np.isfinite(heights), heights, np.nan)
        return grid

    def middles(self, rows: slice, columns: slice) -> Array:
        """Return (h, w, 2): metres east and north of the cells' middles."""
        east = self.low_en[0] + (np.arange(self.shape[1])[columns] + 0.5) * self.cell_m
        north = self.low_en[1] + (np.arange(self.shape[0])[rows] + 0.5) * self.cell_m
        return np.stack(np.meshgrid(east, north), axis=-1)


def _reaches_m(shots: Sequence[_Shot], most_gsd_m: float, ground: FlightGround) -> Array:
    """Return (n,): how far from below each camera ground can count."""
    model = ground.ground if isinstance(ground.ground, SurfaceModel) else None
    lowest = float(np.nanmin(model.heights_m)) if model else 0.0
    return np.array([_reach_m(shot, most_gsd_m, lowest) for shot in shots])


def _reach_m(shot: _Shot, most_gsd_m: float, lowest_m: float) -> float:
    """Return how far from below the camera ground can count."""
    above = max(float(shot.views.height_m[0]) - lowest_m, 0.0)
    by_angle = above / math.tan(math.radians(COVERAGE_DEPRESSION_DEG))
    # In the corner of a wide frame a pixel is narrower than in its middle.
    return min(by_angle, 1.5 * most_gsd_m * shot.camera.focal_px)


class _Seen:
    """What of a grid has been seen."""

    def __init__(self, grid: _Grid) -> None:
        self._grid = grid
        self._gsd = np.full(grid.shape, np.inf)
        self._first = np.full(grid.shape, np.inf)
        self._last = np.full(grid.shape, -np.inf)

    def add(self, shot: _Shot, place: Array, most_gsd_m: float) -> None:
        """Add what one frame sees from a place (2,), metres in the grid's frame."""
        grid = self._grid
        rows, columns = self._window(shot, place, most_gsd_m)
        middles = grid.middles(rows, columns)
        ground = 0.0 if grid.ground_m is None else grid.ground_m[rows, columns]
        drop = shot.views.height_m[0] - ground
        offsets = np.concatenate(
            [middles - place, np.broadcast_to(-drop, middles.shape[:2])[..., None]], axis=-1
        )
        gsd = _gsd_m(shot, offsets.reshape(-1, 3)).reshape(middles.shape[:2])
        gsd[~(gsd <= most_gsd_m)] = np.inf
        if grid.model is not None:
            seen = np.isfinite(gsd)
            gsd[seen] = np.where(
                self._hidden(grid.model, shot, place, middles[seen], drop[seen]), np.inf, gsd[seen]
            )
        seen = np.isfinite(gsd)
        part = (rows, columns)
        self._gsd[part] = np.minimum(self._gsd[part], gsd)
        self._first[part] = np.where(
            seen, np.minimum(self._first[part], shot.moment_s), self._first[part]
        )
        self._last[part] = np.where(
            seen, np.maximum(self._last[part], shot.moment_s), self._last[part]
        )

    def _window(self, shot: _Shot, place: Array, most_gsd_m: float) -> tuple[slice, slice]:
        """Return the rows and columns that hold all that a frame can see."""
        grid = self._grid
        lowest = 0.0 if grid.ground_m is None else float(np.nanmin(grid.ground_m, initial=np.inf))
        reach = _reach_m(shot, most_gsd_m, lowest)
        around = _border_on_ground(shot, float(shot.views.height_m[0]) - lowest, reach)
        if grid.ground_m is not None:  # higher ground is seen nearer to the camera
            around = np.vstack([around, np.zeros(2)])
        low = np.floor((place + around.min(axis=0) - grid.low_en) / grid.cell_m).astype(int) - 1
        high = np.ceil((place + around.max(axis=0) - grid.low_en) / grid.cell_m).astype(int) + 2
        return slice(max(low[1], 0), max(high[1], 0)), slice(max(low[0], 0), max(high[0], 0))

    def _hidden(
        self, model: SurfaceModel, shot: _Shot, place: Array, middles: Array, drop: Array
    ) -> NDArray[np.bool_]:
        """Say which cells something higher hides from the camera."""
        grid, hidden = self._grid, np.zeros(len(middles), bool)
        for share in np.linspace(0, 1, _STEPS_TO_GROUND + 2)[1:-1]:
            latitudes, longitudes = grid.frame.to_degrees(place + share * (middles - place))
            heights = model.sample(*model.to_cells(longitudes, latitudes))
            line = shot.views.height_m[0] - share * drop
            hidden |= heights > line + _CLEARANCE_M * (1 if share < 0.9 else 3)
        return hidden

    def areas(self, names: tuple[str, ...]) -> list[CoverageArea]:
        """Return what has been seen, by how finely."""
        areas = []
        for low, high in itertools.pairwise(GSD_BANDS_M):
            cells = (self._gsd > low) & (self._gsd <= high) & np.isfinite(self._gsd)
            if not cells.any():
                continue
            areas.append(
                CoverageArea(
                    names,
                    low,
                    min(high, float(self._gsd[cells].max())),
                    float(self._first[cells].min()),
                    float(self._last[cells].max()),
                    float(cells.sum()) * self._grid.cell_m**2,
                    [[self._in_degrees(ring) for ring in polygon] for polygon in outlines(cells)],
                )
            )
        return areas

    def _in_degrees(self, ring: list[tuple[int, int]]) -> list[tuple[float, float]]:
        metres = self._grid.low_en + np.array(ring, float) * self._grid.cell_m
        latitudes, longitudes = self._grid.frame.to_degrees(metres)
        return list(zip(longitudes.tolist(), latitudes.tolist(), strict=True))


def _gsd_m(shot: _Shot, offsets: Array) -> Array:
    """Return metres a pixel (n,), the mean of both directions, of ground at offsets (n, 3) from the
    camera; NaN where the frame does not show it.
    """
    n = len(offsets)
    axes = shot.views.axes[0]
    seen = offsets @ axes.T
    with np.errstate(invalid="ignore", divide="ignore"):
        rays = seen[:, :2] / np.where(seen[:, 2] > 1e-9, seen[:, 2], np.nan)[:, None]
        wide = np.abs(rays).max(axis=1) > _widest(shot.camera)
        pixels = shot.camera.to_pixels(rays)
        inside = ((pixels >= 0) & (pixels <= (shot.camera.width_px, shot.camera.height_px))).all(
            axis=1
        )
        distance = np.linalg.norm(offsets, axis=1)
        sine = -offsets[:, 2] / distance
        cosine = seen[:, 2] / distance
        gsd = distance * np.sqrt(cosine**3 / sine) / shot.camera.focal_px
        shown = inside & ~wide & (sine >= math.sin(math.radians(COVERAGE_DEPRESSION_DEG)))
    return np.where(shown, gsd, np.full(n, np.nan))


def _border_on_ground(shot: _Shot, drop_m: float, reach_m: float) -> Array:
    """Return (n, 2): metres east and north from the camera to where the frame's border lies on the
    ground, at most ``reach_m`` away.
    """
    camera, along = shot.camera, np.linspace(0, 1, 33)
    unit = np.concatenate(
        [
            np.column_stack(side)
            for edge in (along * 0, along * 0 + 1)
            for side in ((along, edge), (edge, along))
        ]
    )
    rays = camera.to_rays(unit * (camera.width_px, camera.height_px))
    if not np.isfinite(rays).all():
        return np.array([[-reach_m, -reach_m], [reach_m, reach_m]])
    directions = np.column_stack([rays, np.ones(len(rays))]) @ shot.views.axes[0]
    flat = np.maximum(np.hypot(directions[:, 0], directions[:, 1]), 1e-12)
    falls = directions[:, 2] < 0
    away = np.where(falls, drop_m * flat / np.where(falls, -directions[:, 2], 1), reach_m)
    return directions[:, :2] / flat[:, None] * np.minimum(away, reach_m)[:, None]


def _widest(camera: CameraIntrinsics) -> float:
    """Return how far rays of the frame go, with room for distortion, which may fold what is beyond
    back into the frame.
    """
    corners = np.array(
        [[0, 0], [camera.width_px, 0], [0, camera.height_px], [camera.width_px, camera.height_px]]
    )
    rays = camera.to_rays(corners.astype(float))
    return float(np.nanmax(np.abs(rays), initial=0.0)) * 1.02 or math.inf
