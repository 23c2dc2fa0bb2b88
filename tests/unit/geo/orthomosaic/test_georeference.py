"""Where pixels of rasters lie: control points, areas, the antimeridian, unknown projections; and
what a raster that cannot be shown says.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.geo.orthomosaic.detected_objects import objects_of
from yolo_ema.geo.orthomosaic.raster import OrthomosaicReader

rasterio = pytest.importorskip("rasterio")
pyproj = pytest.importorskip("pyproj")

from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.rpc import RPC  # noqa: E402
from rasterio.transform import Affine, from_origin  # noqa: E402


def write(path: Path, *, colours: dict | None = None, dtype: str = "uint8", **profile) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", width=40, height=30, count=1, dtype=dtype, **profile
        ) as file:
            file.write(np.ones((1, 30, 40), dtype))
            if colours:
                file.write_colormap(1, colours)
    return path


def at(affine: Affine, column: float, row: float) -> tuple[float, float]:
    a, b, c, d, e, f = affine[:6]
    return a * column + b * row + c, d * column + e * row + f


def test_control_points_become_the_affine_transform_that_fits_them(tmp_path):
    turned = Affine(0.5, 0.1, 500_000, 0.1, -0.5, 5_000_000)
    points = [
        GroundControlPoint(row, column, *at(turned, column, row))
        for row, column in ((0, 0), (0, 40), (30, 0), (30, 40))
    ]
    path = write(tmp_path / "g.tif", gcps=points, crs="EPSG:32632")
    with OrthomosaicReader(path) as reader:
        place = reader.place
    np.testing.assert_allclose(place.matrix.ravel(), turned[:6], rtol=1e-6)
    assert any("4 ground control points" in remark for remark in place.remarks)
    assert place.epsg == 32632
    corners = place.corners_xy(np.array([[3, 4, 10, 20]]))[0]
    np.testing.assert_allclose(corners[2], at(turned, 10, 20), rtol=1e-9)


def test_coefficients_alone_are_said_not_to_be_supported(tmp_path):
    some = [1.0] + [0.0] * 19
    rpc = RPC(0.0, 1.0, 47.0, 1.0, some, some, 15.0, 30.0, 8.0, 1.0, some, some, 20.0, 40.0, 0, 0)
    with OrthomosaicReader(write(tmp_path / "r.tif", rpcs=rpc)) as reader:
        assert any("(RPC)" in remark for remark in reader.remarks)
        assert reader.place.to_degrees is None


def test_the_area_of_pixels_is_that_on_the_ellipsoid_and_not_of_web_mercator(tmp_path):
    path = write(tmp_path / "w.tif", crs="EPSG:3857", transform=from_origin(1e6, 8e6, 10, 10))
    with OrthomosaicReader(path) as reader:
        area = reader.place.square_metres((0, 0, 40, 30))
    latitude = np.radians(pyproj.Transformer.from_crs(3857, 4326).transform(1e6, 8e6 - 150)[0])
    assert area == pytest.approx(400 * 300 * np.cos(latitude) ** 2, rel=0.01)


def test_a_box_across_the_antimeridian_is_cut_there(tmp_path):
    to_utm = pyproj.Transformer.from_crs(4326, 32760, always_xy=True)
    x, y = to_utm.transform(180, -18)
    place = from_origin(x - 1000, y, 50, 50)
    path = write(tmp_path / "a.tif", crs="EPSG:32760", transform=place)
    with OrthomosaicReader(path) as reader:
        row = np.array([[0, 0, 40, 30, 0.5, 0]], np.float32)
        (one,) = objects_of(row, reader.place, {0: "car"}, 1)
    assert one.geometry is not None
    assert one.geometry["type"] == "MultiPolygon"
    sides = [np.array(polygon[0])[:, 0] for polygon in one.geometry["coordinates"]]
    assert {float(np.sign(side).sum()) > 0 for side in sides} == {True, False}
    for polygon in one.geometry["coordinates"]:
        x, y = (np.array(polygon[0]) - polygon[0][0]).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # counter-clockwise
        assert np.ptp(x) < 1


def test_longitudes_that_a_raster_counts_to_360_are_wrapped(tmp_path):
    path = write(tmp_path / "a.tif", crs="EPSG:4326", transform=from_origin(289.9, -20, 1e-5, 1e-5))
    with OrthomosaicReader(path) as reader:
        (one,) = objects_of(np.array([[0, 0, 4, 2, 0.5, 0]]), reader.place, {0: "car"}, 1)
    longitudes = np.array(one.geometry["coordinates"][0])[:, 0]
    assert one.centre_deg == [pytest.approx(-70.09998), pytest.approx(-20.00001)]
    assert longitudes.min() < one.centre_deg[0] < longitudes.max()


def test_an_engineering_projection_has_no_longitude_and_latitude(tmp_path):
    local = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    path = write(tmp_path / "l.tif", crs=local, transform=from_origin(100, 200, 0.1, 0.1))
    with OrthomosaicReader(path) as reader:
        assert reader.place.to_degrees is None
        assert any("no way to longitude and latitude" in remark for remark in reader.remarks)
        (one,) = objects_of(np.array([[0, 0, 10, 10, 0.5, 0]]), reader.place, {0: "car"}, 7)
    assert one.number == 7
    assert one.geometry is None
    np.testing.assert_allclose(one.centre_xy, (100.5, 199.5))


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"colours": {1: (9, 9, 9, 255)}, "photometric": "palette"}, "has a palette"),
        ({"dtype": "complex64"}, "has complex values"),
    ],
)
def test_what_cannot_be_shown_is_said(tmp_path, profile, said):
    path = write(tmp_path / "x.tif", crs="EPSG:32632", transform=from_origin(0, 0, 1, 1), **profile)
    with pytest.raises(SourceError, match=said):
        OrthomosaicReader(path)


def test_a_file_that_is_no_tiff_is_said(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(SourceError, match="cannot be read"):
        OrthomosaicReader(tmp_path / "x.tif")
