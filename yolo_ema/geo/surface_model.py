"""A surface model: a raster of heights, and where lines of view meet it first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import DataError, DataNotFoundError, MissingPackageError, OutOfReachError
from yolo_ema.geo.geodesic import geodesic_forward, geodesic_inverse
from yolo_ema.geo.ground import LEAST_DEPRESSION_DEG, Hits, sky_reasons
from yolo_ema.geo.views import Views

Array = NDArray[np.float64]

_MOST_CELLS = 150_000_000
_SAMPLES_AT_ONCE = 2_000_000
_KNOTS = 9
_HALVINGS = 40
_STEEPEST = 1.0
_SLOPE_OVER_M = 2.0
_LOWEST_M, _HIGHEST_M = -1000.0, 9000.0
_UNITS = {"", "m", "metre", "meter", "metres", "meters"}


@dataclass(frozen=True)
class SurfaceModel:
    """Heights in a raster, between whose cells they run bilinearly.

    Attributes:
        path: the file.
        heights_m: (H, W) float, NaN where there is none.
        to_cells: from degrees to columns and rows; the middle of cell (0, 0) is at 0, 0.
        cell_m: width of a cell on the ground, the smaller of its two.
        projection: the raster's, by name.
    """

    path: Path
    heights_m: Array
    to_cells: Callable[[Array, Array], tuple[Array, Array]]
    cell_m: float
    projection: str

    @classmethod
    def open(
        cls, path: Path, latitudes_deg: Array, longitudes_deg: Array, *, above_m: float = 0.0
    ) -> SurfaceModel:
        """Read what lies in reach of cameras.

        Args:
            path: a raster that GDAL reads, as GeoTIFF; its first band holds metres.
            latitudes_deg: of the cameras.
            longitudes_deg: of the cameras.
            above_m: how far they fly above the ground at most, about; 0 reads the whole raster.

        Raises:
            DataNotFoundError: there is no such file.
            DataError: it is not a raster, or its projection or unit is unknown.
            OutOfReachError: it does not cover the place, or too much of it would be needed.
            MissingPackageError: rasterio or pyproj is not installed.
        """
        rasterio, pyproj = _packages()
        if not path.exists():
            raise DataNotFoundError(f"there is no surface model {path}")
        try:
            with rasterio.open(path) as raster:
                return cls._read(path, raster, pyproj, (latitudes_deg, longitudes_deg), above_m)
        except rasterio.errors.RasterioError as error:
            raise DataError(f"{path} cannot be read as a surface model: {error}") from error

    @classmethod
    def _read(
        cls, path: Path, raster: Any, pyproj: Any, places: tuple[Array, Array], above_m: float
    ) -> SurfaceModel:
        if raster.crs is None:
            raise DataError(
                f"the surface model {path} names no projection, so that its place is unknown; "
                "expected a raster with one, as gdal_edit.py -a_srs EPSG:… gives it"
            )
        try:
            _refuse_feet(path, raster.units[0] or "", pyproj.CRS(raster.crs.to_wkt()))
            transformer = pyproj.Transformer.from_crs(
                "EPSG:4326", raster.crs.to_wkt(), always_xy=True
            )
        except pyproj.exceptions.ProjError as error:
            raise DataError(
                f"the projection of the surface model {path} is not one of the earth: "
                f"{raster.crs.to_wkt()[:60]}…; expected one with an EPSG code or the like"
            ) from error
        window = _window_around(path, raster, transformer, places, above_m)
        heights = raster.read(1, window=window, masked=True).astype(float)
        heights = heights * raster.scales[0] + raster.offsets[0]
        inverse = ~raster.window_transform(window)

        def to_cells(longitudes: Array, latitudes: Array) -> tuple[Array, Array]:
            x, y = transformer.transform(longitudes, latitudes)
            columns, rows = _applied(inverse, np.asarray(x), np.asarray(y))
            return columns - 0.5, rows - 0.5

        heights = heights.filled(np.nan)
        # Holes are often filled with -9999 or -32768 that no header declares.
        heights = np.where((heights >= _LOWEST_M) & (heights <= _HIGHEST_M), heights, np.nan)
        if not np.isfinite(heights).any():
            raise OutOfReachError(f"the surface model {path} has no heights where the cameras are")
        cell_m = _cell_m(to_cells, float(np.mean(places[0])), float(np.mean(places[1])))
        return cls(path, heights, to_cells, cell_m, raster.crs.to_string())

    def height_at(self, latitude_deg: float, longitude_deg: float) -> float:
        """Return the height at a place, NaN where there is none."""
        cells = self.to_cells(np.array([longitude_deg]), np.array([latitude_deg]))
        return float(self.sample(*cells)[0])

    def hits(self, views: Views, directions: Array) -> Hits:
        """Return where lines of view meet the surface first, see `Ground.hits`."""
        reasons = sky_reasons(directions)
        offsets, drop = np.full((len(views), 2), np.nan), np.full(len(views), np.nan)
        slopes = np.zeros((len(views), 2))
        over, under = float(np.nanmax(self.heights_m)), float(np.nanmin(self.heights_m))
        reasons[(reasons == "") & ~(views.height_m > under)] = "below_ground"
        rows = np.flatnonzero(reasons == "")
        # Far lines of view take many samples; those of one length go together.
        flat = np.hypot(directions[rows, 0], directions[rows, 1])
        fall = -directions[rows, 2]
        start = np.maximum(views.height_m[rows] - over, 0) / fall
        end = (views.height_m[rows] - under) / fall + 1e-6
        counts = np.ceil((end - start) * flat / (self.cell_m / 2)).astype(int) + 2
        order = np.argsort(counts, kind="stable")
        for chunk in _chunks(counts[order], _SAMPLES_AT_ONCE):
            part = order[chunk]
            chosen = rows[part]
            path = _GroundPath(self, views[chosen], directions[chosen], start[part], end[part])
            stretch, reasons[chosen] = path.first_hit(int(counts[part].max()))
            offsets[chosen] = directions[chosen, :2] * stretch[:, None]
            drop[chosen] = -directions[chosen, 2] * stretch
            slopes[chosen] = self._slopes(views[chosen], offsets[chosen])
        return Hits(offsets, drop, slopes, reasons)

    def sample(self, columns: Array, rows: Array) -> Array:
        """Return bilinear heights at cells, NaN where one of the four is missing, −inf outside."""
        height, width = self.heights_m.shape
        outside = ~(
            (columns >= -0.5) & (columns <= width - 0.5) & (rows >= -0.5) & (rows <= height - 0.5)
        )
        column = np.clip(np.where(outside, 0, columns), 0, width - 1)
        row = np.clip(np.where(outside, 0, rows), 0, height - 1)
        left = np.minimum(column.astype(int), max(width - 2, 0))
        top = np.minimum(row.astype(int), max(height - 2, 0))
        right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
        across, down = column - left, row - top
        upper = self._mix(top, left, right, across)
        lower = self._mix(bottom, left, right, across)
        heights = np.where(down == 0, upper, upper * (1 - down) + lower * down)
        return np.where(outside, -np.inf, heights)

    def _mix(self, row: Array, left: Array, right: Array, across: Array) -> Array:
        first, second = self.heights_m[row, left], self.heights_m[row, right]
        return np.where(across == 0, first, first * (1 - across) + second * across)

    def _slopes(self, views: Views, offsets: Array) -> Array:
        """Return the rise (n, 2) to the east and north over a few metres; 0 where it is unknown."""
        reach = max(2 * self.cell_m, _SLOPE_OVER_M)
        slopes = []
        for step in ((reach, 0.0), (0.0, reach)):
            points = [offsets + np.multiply(sign, step) for sign in (1, -1)]
            sides = [self.sample(*self.cells_of(views, point)) for point in points]
            with np.errstate(invalid="ignore"):
                slopes.append((sides[0] - sides[1]) / (2 * reach))
        stacked = np.stack(slopes, axis=1)
        return np.clip(np.where(np.isfinite(stacked), stacked, 0.0), -_STEEPEST, _STEEPEST)

    def cells_of(self, views: Views, offsets: Array) -> tuple[Array, Array]:
        """Return the cells of places (n, 2), metres east and north of the cameras."""
        latitudes, longitudes = geodesic_forward(
            views.latitude_deg,
            views.longitude_deg,
            np.degrees(np.arctan2(offsets[:, 0], offsets[:, 1])),
            np.hypot(offsets[:, 0], offsets[:, 1]),
        )
        return self.to_cells(longitudes, latitudes)


class _GroundPath:
    """Lines of view as they run over the cells of a surface model, from one stretch to another."""

    def __init__(
        self, model: SurfaceModel, views: Views, directions: Array, start: Array, end: Array
    ) -> None:
        self._model, self._views, self._directions = model, views, directions
        self._start, self._end = start, end
        # A projection bends a straight line by far less than a millimetre between such knots.
        knots = start + np.linspace(0, 1, _KNOTS)[:, None] * (end - start)  # (K, n)
        cells = [model.cells_of(views, directions[:, :2] * knot[:, None]) for knot in knots]
        self._columns = np.stack([column for column, _ in cells])
        self._rows = np.stack([row for _, row in cells])

    def first_hit(self, samples: int) -> tuple[Array, NDArray[np.str_]]:
        """Return the stretches (n,) at which the lines meet the surface, and reasons where not."""
        shares = np.linspace(0, 1, samples)[:, None] * np.ones(len(self._start))
        above = self._above(shares)
        # Outside the raster the surface is unknown, as where it has no data.
        under, outside, unknown = above <= 0, np.isposinf(above), np.isnan(above)
        event = under | outside | unknown
        first = event.argmax(axis=0)
        rays = np.arange(len(self._start))
        reasons = np.full(len(rays), "", dtype="<U24")
        reasons[unknown[first, rays]] = "surface_nodata"
        reasons[outside[first, rays] | ~event.any(axis=0)] = "outside_surface_model"
        reasons[(first == 0) & under[0] & (self._start == 0)] = "below_ground"
        high = shares[first, rays]
        low = shares[np.maximum(first - 1, 0), rays]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            is_under = self._above(middle[None])[0] <= 0
            low, high = np.where(is_under, low, middle), np.where(is_under, middle, high)
        stretch = self._start + high * (self._end - self._start)
        return np.where(reasons == "", stretch, np.nan), reasons

    def _above(self, shares: Array) -> Array:
        """Return how far the lines run above the surface, (m, n) metres at shares (m, n)."""
        place = np.clip(shares, 0, 1) * (_KNOTS - 1)
        knot = np.minimum(place.astype(int), _KNOTS - 2)
        rest, rays = place - knot, np.arange(shares.shape[1])
        columns, rows = (
            cells[knot, rays] * (1 - rest) + cells[knot + 1, rays] * rest
            for cells in (self._columns, self._rows)
        )
        stretch = self._start + shares * (self._end - self._start)
        height = self._views.height_m + self._directions[:, 2] * stretch
        return height - self._model.sample(columns, rows)


def _chunks(counts: NDArray[np.int_], most: int) -> list[slice]:
    """Return slices of rising counts whose length times largest count stays within ``most``."""
    slices, first = [], 0
    for row in range(1, len(counts) + 1):
        if row == len(counts) or (row + 1 - first) * counts[row] > most:
            slices.append(slice(first, row))
            first = row
    return slices


def _window_around(
    path: Path, raster: Any, transformer: Any, places: tuple[Array, Array], above_m: float
) -> Any:
    """Return the part of the raster in reach of the cameras."""
    from rasterio.windows import Window

    reach = above_m / math.tan(math.radians(LEAST_DEPRESSION_DEG)) if above_m else 4e4
    corners = [
        geodesic_forward(*places, azimuth, reach * math.sqrt(2)) for azimuth in (45, 135, 225, 315)
    ]
    corners.append(places)
    latitudes, longitudes = (
        np.concatenate([np.atleast_1d(corner[i]) for corner in corners]) for i in (0, 1)
    )
    x, y = transformer.transform(longitudes, latitudes)
    inverse = ~raster.transform
    columns, rows = _applied(inverse, np.asarray(x), np.asarray(y))
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        raise OutOfReachError(f"the surface model {path} lies far from the cameras")
    left, right = max(math.floor(columns.min()), 0), min(math.ceil(columns.max()), raster.width)
    top, bottom = max(math.floor(rows.min()), 0), min(math.ceil(rows.max()), raster.height)
    if right - left < 2 or bottom - top < 2:
        raise OutOfReachError(
            f"the surface model {path} does not cover the place of the flight, "
            f"{float(np.mean(places[0])):.5f}, {float(np.mean(places[1])):.5f} (latitude, "
            "longitude)"
        )
    if (right - left) * (bottom - top) > _MOST_CELLS:
        raise OutOfReachError(
            f"the flight would need {(right - left) * (bottom - top)} cells of the surface model "
            f"{path}; expected at most {_MOST_CELLS}: make a coarser one, as with gdalwarp -tr"
        )
    return Window(left, top, right - left, bottom - top)


def _refuse_feet(path: Path, unit: str, crs: Any) -> None:
    """Raise `DataError` where heights are not in metres, or likely not: where nobody says it, and
    the projection itself counts in feet.
    """
    up = next((axis for axis in crs.axis_info if axis.direction == "up"), None)
    over = crs.axis_info[0].unit_name if crs.axis_info else ""
    stated = unit or (up.unit_name if up else "")
    if stated and stated.lower() not in _UNITS:
        raise DataError(f"the heights of {path} are in {stated}; expected metres")
    if not stated and "foot" in over.lower():
        raise DataError(
            f"the projection of the surface model {path} is in {over}, and the file does not say "
            "in what its heights are; expected metres: if they are, gdal_edit.py -units m says so"
        )


def _applied(matrix: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """Return what an affine matrix makes of points; its own operator for that varies by version."""
    a, b, c, d, e, f = matrix[:6]
    return a * x + b * y + c, d * x + e * y + f


def _cell_m(
    to_cells: Callable[..., tuple[Array, Array]], latitude: float, longitude: float
) -> float:
    """Return how wide a cell is on the ground, the smaller of its two sides, in metres."""
    step = 1e-4
    columns, rows = to_cells(
        np.array([longitude, longitude + step, longitude]),
        np.array([latitude, latitude, latitude + step]),
    )
    _, metres = geodesic_inverse(
        latitude,
        longitude,
        np.array([latitude, latitude + step]),
        np.array([longitude + step, longitude]),
    )
    cells = (
        np.hypot(np.diff(columns)[[0]], np.diff(rows)[[0]])[0],
        math.hypot(columns[2] - columns[0], rows[2] - rows[0]),
    )
    return float(min(metres[0] / cells[0], metres[1] / cells[1]))


def _packages() -> tuple[Any, Any]:
    try:
        import pyproj
        import rasterio
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"a surface model needs {error.name}, which is not installed here; install it with: "
            'pip install "yolo-ema[geo]"'
        ) from error
    return rasterio, pyproj
