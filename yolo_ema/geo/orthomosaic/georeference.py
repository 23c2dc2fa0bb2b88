"""Where the pixels of a raster lie: in its projection, and in longitude and latitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Georeference:
    """From pixels to the map; pixel (0, 0) has its upper left corner at 0, 0.

    Attributes:
        matrix: (2, 3) from column, row, 1 to x, y of the projection; also a rotated one.
        projection: by name; None where the file names none.
        wkt: the projection as WKT 1; None as ``projection``.
        epsg: its number, where it has one.
        to_degrees: from x and y of the projection to longitudes and latitudes on WGS 84, in
            degrees, infinite where there are none; None where they are unknown.
        remarks: what is to be known of it.
    """

    matrix: Array
    projection: str | None
    wkt: str | None
    epsg: int | None
    to_degrees: Callable[[Array, Array], tuple[Array, Array]] | None
    remarks: tuple[str, ...]

    def corners_xy(self, boxes_xyxy: Array) -> Array:
        """Return (N, 4, 2) x and y of the corners of boxes (N, 4) in pixels: upper left, lower
        left, lower right, upper right as seen in the image.
        """
        x1, y1, x2, y2 = np.asarray(boxes_xyxy, float).reshape(-1, 4).T
        pixels = np.stack(
            [np.stack(pair, -1) for pair in ((x1, y1), (x1, y2), (x2, y2), (x2, y1))], 1
        )
        return pixels @ self.matrix[:, :2].T + self.matrix[:, 2]

    def degrees_of(self, points_xy: Array) -> Array | None:
        """Return (..., 2) longitudes and latitudes in degrees of points (..., 2) of the
        projection, NaN where there are none; None where the projection is unknown.
        """
        if self.to_degrees is None:
            return None
        longitudes, latitudes = self.to_degrees(points_xy[..., 0], points_xy[..., 1])
        degrees = np.stack([longitudes, latitudes], axis=-1)
        return np.where(np.isfinite(degrees).all(axis=-1, keepdims=True), degrees, np.nan)

    def square_metres(self, xyxy: tuple[int, int, int, int]) -> float | None:
        """Return the area of a rectangle of pixels on the ellipsoid; None where it is unknown."""
        degrees = self.degrees_of(self.corners_xy(np.array([xyxy]))[0])
        if degrees is None or not np.isfinite(degrees).all():
            return None
        import pyproj

        area, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*degrees.T)
        return abs(float(area))


def georeference_of(raster: Any) -> Georeference:
    """Return the georeference of an open raster of rasterio's.

    Control points become the one affine transform that fits them best. Coefficients (RPC) are not
    used: they need the ground's height.
    """
    from rasterio.transform import from_gcps

    transform, crs, remarks = raster.transform, raster.crs, []
    points, points_crs = raster.gcps
    if transform.is_identity and len(points) >= 3:
        transform, crs = from_gcps(points), points_crs or crs
        off = _farthest_px(np.array(transform[:6], float).reshape(2, 3), points)
        remarks.append(
            f"its {len(points)} ground control points are taken as one affine transform; the "
            f"farthest is {off:.1f} pixels off"
        )
    if transform.is_identity:
        crs = None
        remarks.append(
            "it has rational polynomial coefficients (RPC) alone, which are not supported: rectify "
            "it with gdalwarp -rpc"
            if raster.rpcs
            else "it has no georeference"
        )
    matrix = np.array(transform[:6], float).reshape(2, 3)
    if crs is None:
        remarks.append("so polygons are in pixels" if transform.is_identity else _NO_PROJECTION)
        return Georeference(matrix, None, None, None, None, tuple(remarks))
    return _projected(matrix, crs, remarks)


def _farthest_px(matrix: Array, points: Sequence[Any]) -> float:
    """Return by how many pixels the point lies off that fits worst."""
    xy = np.array([(point.x, point.y) for point in points])
    pixels = np.linalg.solve(matrix[:, :2], (xy - matrix[:, 2]).T).T
    meant = np.array([(point.col, point.row) for point in points])
    return float(np.linalg.norm(pixels - meant, axis=1).max())


_NO_PROJECTION = (
    "it names no projection: polygons are in its own coordinates, without longitude and latitude"
)


def _projected(matrix: Array, crs: Any, remarks: list[str]) -> Georeference:
    import pyproj

    wkt = crs.to_wkt()
    try:
        projection = pyproj.CRS.from_wkt(wkt)
        transformer = pyproj.Transformer.from_crs(projection, "EPSG:4326", always_xy=True)
    except pyproj.exceptions.ProjError as error:
        message = " ".join(str(error).split())[:200]
        remarks.append(f"{_UNKNOWN_PROJECTION} ({message})")
        return Georeference(matrix, "unknown", wkt, None, None, tuple(remarks))
    return Georeference(
        matrix,
        projection.name,
        wkt,
        projection.to_epsg(),
        transformer.transform,
        tuple(remarks),
    )


_UNKNOWN_PROJECTION = (
    "its projection has no way to longitude and latitude: polygons are in its own coordinates alone"
)
