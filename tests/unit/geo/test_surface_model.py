"""Lines of view against a raster of heights, held against a slow march in small steps."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.geo.box_base import Bases
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.camera_heights import flight_ground
from yolo_ema.geo.placing import place_bases
from yolo_ema.geo.pose import Pose
from yolo_ema.geo.sightings import FrameBoxes, locate_source
from yolo_ema.geo.surface_model import SurfaceModel
from yolo_ema.geo.uncertainty import PoseSigmas
from yolo_ema.geo.views import Views
from yolo_ema.options.mapping import MapOptions
from yolo_ema.options.telemetry import TelemetryOptions

pyproj = pytest.importorskip("pyproj")
rasterio = pytest.importorskip("rasterio")

CAMERA = CameraIntrinsics(1200, 800, 900.0, 600.0, 400.0)
TO_UTM = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
EAST, NORTH = 500_300.0, 5_200_000.0
LONGITUDE, LATITUDE = TO_UTM.transform(EAST, NORTH, direction="INVERSE")


def hills(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 400 + 12 * np.sin(x / 37) * np.cos(y / 51) + 0.05 * x


def write(
    path: Path, heights: np.ndarray, *, cell: float = 1.0, crs="EPSG:32632", **profile
) -> Path:
    half = heights.shape[0] * cell / 2
    transform = rasterio.transform.from_origin(EAST - half, NORTH + half, cell, cell)
    profile = {"count": 1, "dtype": "float32", "nodata": -9999.0} | profile
    with (
        warnings.catch_warnings(),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=heights.shape[0],
            width=heights.shape[1],
            crs=crs,
            transform=transform,
            **profile,
        ) as file,
    ):
        file.write(heights.astype(profile["dtype"]), 1)
    return path


def grid(size: int = 600) -> tuple[np.ndarray, np.ndarray]:
    steps = np.arange(size) + 0.5 - size / 2
    return np.meshgrid(steps, -steps)


def views(count: int, **values) -> Views:
    pose = {
        "latitude_deg": LATITUDE,
        "longitude_deg": LONGITUDE,
        "height_m": 500.0,
        "yaw_deg": 20.0,
        "pitch_deg": -40.0,
        "roll_deg": 2.0,
    } | values
    return Views(**{name: np.full(count, 1.0) * value for name, value in pose.items()})


def opened(path: Path, above_m: float = 120.0) -> SurfaceModel:
    return SurfaceModel.open(path, np.array([LATITUDE]), np.array([LONGITUDE]), above_m=above_m)


def located(model: SurfaceModel, pixels: np.ndarray, poses: Views):
    bases = Bases.of_pixels(pixels, np.tile(np.eye(2), (len(poses), 1, 1)))
    cameras = [CAMERA] * len(poses)
    found = place_bases(bases, poses, cameras, model, sigmas=PoseSigmas(), max_error_m=np.inf)
    x, y = TO_UTM.transform(found.longitude_deg, found.latitude_deg)
    return found, np.column_stack([np.asarray(x) - EAST, np.asarray(y) - NORTH])


def test_places_are_where_a_march_in_small_steps_meets_the_surface(tmp_path):
    model = opened(write(tmp_path / "hills.tif", hills(*grid())))
    rng = np.random.default_rng(0)
    n = 60
    pixels = rng.uniform((0, 0), (1200, 800), (n, 2))
    poses = views(n, yaw_deg=rng.uniform(-180, 180, n), pitch_deg=rng.uniform(-80, -45, n))
    found, metres = located(model, pixels, poses)
    assert set(found.reasons) == {""}
    directions = poses.directions(CAMERA.to_rays(pixels))
    # Metres of the projection's grid are not quite metres on the ground.
    factors = pyproj.Proj("EPSG:32632").get_factors(LONGITUDE, LATITUDE)
    turn = np.radians(factors.meridian_convergence)
    for direction, place, height in zip(directions, metres, found.ground_m, strict=True):
        steps = np.arange(0, 220, 0.005) / -direction[2]
        east, north = direction[0] * steps, direction[1] * steps
        x = factors.meridional_scale * (east * np.cos(turn) + north * np.sin(turn))
        y = factors.meridional_scale * (north * np.cos(turn) - east * np.sin(turn))
        below = 500 + direction[2] * steps <= hills(x, y)
        first = int(below.argmax())
        assert np.hypot(*(place - (x[first], y[first]))) < 0.15
        assert height == pytest.approx(hills(*place), abs=0.02)


def test_a_wall_hides_what_lies_behind_it(tmp_path):
    _, y = grid()
    heights = np.where((y > 80) & (y < 84), 440.0, 400.0)
    model = opened(write(tmp_path / "wall.tif", heights))
    poses = views(3, yaw_deg=0.0, roll_deg=0.0, pitch_deg=[-60.0, -45.0, -35.0])
    found, metres = located(model, np.full((3, 2), (600, 400)), poses)
    # Near ground, the wall's face at 60 m of height above it, and far ground behind its shadow.
    assert metres[0, 1] == pytest.approx(57.7, abs=0.1)
    assert 79 < metres[1, 1] < 81
    assert found.ground_m[1] > 415
    assert metres[2, 1] == pytest.approx(100 / np.tan(np.radians(35)), abs=0.2) or metres[2, 1] < 85
    np.testing.assert_array_equal(found.reasons, "")


def test_slopes_shape_the_ellipse(tmp_path):
    _, y = grid()
    rising = opened(write(tmp_path / "rising.tif", 400 + 0.5 * np.maximum(y, 0)))
    level = opened(write(tmp_path / "level.tif", np.full_like(y, 400)))
    pose = views(1, yaw_deg=0.0, roll_deg=0.0)
    pixel = np.array([[600.0, 400.0]])
    on_slope, metres = located(rising, pixel, pose)
    # A metre of height moves the place by 1 / (tan 40° + slope) metres.
    tilt = np.tan(np.radians(40))
    assert metres[0, 1] == pytest.approx(100 / (tilt + 0.5), abs=0.05)
    expected = {"level": 1 / tilt, "slope": 1 / (tilt + 0.5)}
    on_level, _ = located(level, pixel, pose)
    assert on_level.pose_changes[0, 1, 2] == pytest.approx(expected["level"], rel=1e-3)
    assert on_slope.pose_changes[0, 1, 2] == pytest.approx(expected["slope"], rel=1e-2)


def test_missing_heights_and_the_rasters_edge_are_named(tmp_path):
    x, y = grid()
    heights = np.where((y > 40) & (x > 0), -9999.0, 400.0)
    model = opened(write(tmp_path / "hole.tif", heights))
    poses = views(
        4, yaw_deg=[10, 45, -45, 180], roll_deg=0, pitch_deg=[-20, -45, -45, -12], height_m=470
    )
    found, _ = located(model, np.full((4, 2), (600.0, 400.0)), poses)
    assert found.reasons.tolist() == [
        "surface_nodata",
        "surface_nodata",
        "",
        "outside_surface_model",
    ]
    under, _ = located(model, np.array([[600.0, 400.0]]), views(1, height_m=390))
    assert under.reasons.tolist() == ["below_ground"]


def test_only_what_is_in_reach_is_read(tmp_path):
    path = write(tmp_path / "large.tif", np.full((1000, 1000), 400.0), cell=10.0)
    assert opened(path, above_m=50).heights_m.shape[0] < 200
    assert opened(path, above_m=0).heights_m.shape == (1000, 1000)


def test_a_raster_in_degrees_works_too(tmp_path):
    path = tmp_path / "degrees.tif"
    step = 1e-5
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=600,
        width=600,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=rasterio.transform.from_origin(
            LONGITUDE - 300 * step, LATITUDE + 300 * step, step, step
        ),
    ) as file:
        file.write(np.full((600, 600), 400, np.float32), 1)
    _, metres = located(
        opened(path), np.array([[600.0, 400.0]]), views(1, yaw_deg=0.0, roll_deg=0.0)
    )
    assert np.hypot(*metres[0]) == pytest.approx(100 / np.tan(np.radians(40)), abs=0.06)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_unusable_rasters_are_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="no surface model"):
        opened(tmp_path / "nowhere.tif")
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(DataError, match="cannot be read as a surface model"):
        opened(tmp_path / "text.tif")
    flat = np.full((100, 100), 400.0)
    with pytest.raises(DataError, match="names no projection"):
        opened(write(tmp_path / "bare.tif", flat, crs=None))
    with pytest.raises(DataError, match="no heights where"):
        opened(write(tmp_path / "empty.tif", np.full((100, 100), -9999.0)))
    far = write(tmp_path / "far.tif", flat)
    with pytest.raises(DataError, match="does not cover the place"):
        SurfaceModel.open(far, np.array([46.0]), np.array([8.0]), above_m=100)


@pytest.mark.parametrize("filler", [-9999.0, -32768.0, 3.4e38, np.inf])
def test_holes_whose_filler_is_not_declared_are_holes(tmp_path, filler):
    heights = hills(*grid())
    heights[200:300, 200:400] = filler
    model = opened(write(tmp_path / "holes.tif", heights, nodata=None))
    found, _ = located(model, np.array([[600.0, 400.0]]), views(1))
    assert found.reasons[0] == "surface_nodata"
    assert np.isnan(found.latitude_deg[0])


def test_a_projection_that_is_not_of_the_earth_is_refused(tmp_path):
    path = write(tmp_path / "site.tif", hills(*grid(20)), crs='LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(DataError, match="not one of the earth"):
        opened(path)


@pytest.mark.parametrize(("height_m", "says"), [(60.0, True), (2.0, False)])
def test_a_clip_that_begins_in_the_air_says_what_its_take_off_is_taken_for(
    tmp_path, height_m, says
):
    path = write(tmp_path / "hills.tif", hills(*grid()))
    pose = Pose(0.0, LATITUDE, LONGITUDE, height_takeoff_m=height_m)
    sentences = flight_ground(TelemetryOptions(dem=path), [pose]).assumptions
    assert any("begins 60 m above its take-off" in one for one in sentences) == says


@pytest.mark.parametrize(
    ("crs", "says"),
    [
        ("EPSG:32632+6360", "are in US survey foot; expected metres"),
        ("EPSG:2263", "the file does not say in what its heights are"),
    ],
)
def test_heights_in_feet_are_refused(tmp_path, crs, says):
    with pytest.raises(DataError, match=says):
        opened(write(tmp_path / "feet.tif", hills(*grid(20)), crs=crs))
    with rasterio.open(tmp_path / "feet.tif", "r+") as file:
        file.units = ["ft"]
    with pytest.raises(DataError, match="are in ft; expected metres"):
        opened(tmp_path / "feet.tif")


@pytest.mark.parametrize(
    ("ground", "altitude_m", "counts"),
    [
        ("level", 475.0, "altitude"),
        ("level", 483.0, "altitude"),  # a receiver's altitude may be off by so much
        ("level", 490.0, "take-off"),
        ("level", 515.0, "take-off"),  # above the ellipsoid, as in the middle of Europe
        ("level", 1700.0, "take-off"),  # in feet
        ("hills", 500.0, "altitude"),  # the take-off may lie 25 m higher, on one of them
        ("hills", 675.0, "take-off"),
    ],
)
def test_altitudes_count_unless_the_ground_around_cannot_explain_them(
    tmp_path, ground, altitude_m, counts
):
    x, y = grid()
    relief = 30 * np.sin(x / 60) * np.cos(y / 60) if ground == "hills" else 0 * x
    path = write(tmp_path / "ground.tif", 415 + relief)
    pose = Pose(
        0.0, LATITUDE, LONGITUDE, 60.0, altitude_m, yaw_deg=0, pitch_deg=-80, hfov_deg=60
    )  # fmt: skip
    found = flight_ground(TelemetryOptions(dem=path), [pose])
    height_m = found.height_of(pose)
    assert height_m == pytest.approx(altitude_m if counts == "altitude" else 475, abs=0.3)
    assert any("unlike zeros" in one for one in found.assumptions) == (counts == "take-off")
    doubt_m = relief.std() if counts == "take-off" else 0
    assert found.doubt_m == pytest.approx(doubt_m, rel=0.25)
    box = np.array([[590.0, 390.0, 610.0, 410.0]])
    frame = FrameBoxes(
        "a.jpg", 0, 0.0, (1200, 800), box, ("car",), np.ones(1), np.full(1, -1), pose
    )
    for stated, sigma_m in ((None, np.hypot(2, found.doubt_m)), (3.0, 3.0)):
        located = locate_source([frame], MapOptions(dem=path, sigma_height=stated))
        assert located.sigmas.height_m == pytest.approx(sigma_m)
    if ground == "level" and counts == "take-off":
        assert located.sightings.placed.all()  # which large ellipses would forbid
