"""Real oblique images of a reconstruction: ground that two of them show falls on one place."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_ema.geo.box_base import Bases
from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.geo.placing import place_bases
from yolo_ema.geo.surface_model import SurfaceModel
from yolo_ema.geo.uncertainty import CHI2_95, SIGMAS
from yolo_ema.geo.views import Views

pyproj = pytest.importorskip("pyproj")
pytest.importorskip("rasterio")
pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def odm(shared) -> Path:
    folder = shared / "geo" / "odm"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


class Reconstruction:
    """Cameras and poses of a reconstruction, whose axes are those of its UTM zone."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / "opensfm" / "reconstruction.json").read_text())[0]
        lens = next(iter(content["cameras"].values()))
        width, height = lens["width"], lens["height"]
        size = max(width, height)
        self.camera = CameraIntrinsics(
            width,
            height,
            lens["focal_x"] * size,
            width / 2 + lens["c_x"] * size,
            height / 2 + lens["c_y"] * size,
            tuple(lens[name] for name in ("k1", "k2", "p1", "p2", "k3")),
        )
        self.zone = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32651", always_xy=True)
        self.reference = content["reference_lla"]
        self.poses = {name: self._pose(shot) for name, shot in content["shots"].items()}
        self.model = SurfaceModel.open(
            folder / "odm_dem" / "dsm.tif",
            np.array([pose["latitude_deg"] for pose in self.poses.values()]),
            np.array([pose["longitude_deg"] for pose in self.poses.values()]),
        )

    def _pose(self, shot: dict) -> dict[str, float]:
        turn = cv2.Rodrigues(np.array(shot["rotation"]))[0]
        centre = -turn.T @ np.array(shot["translation"])
        longitude, latitude = self.reference["longitude"], self.reference["latitude"]
        x, y = self.zone.transform(longitude, latitude)
        longitude, latitude = self.zone.transform(x + centre[0], y + centre[1], direction="INVERSE")
        grid_north = pyproj.Proj("EPSG:32651").get_factors(longitude, latitude).meridian_convergence
        forward = turn[2]
        yaw = np.arctan2(forward[0], forward[1])
        level = np.array([np.cos(yaw), -np.sin(yaw), 0])
        roll = np.arctan2(turn[0] @ np.cross(forward, level), turn[0] @ level)
        return {
            "latitude_deg": latitude,
            "longitude_deg": longitude,
            "height_m": centre[2],
            "yaw_deg": np.degrees(yaw) + grid_north,
            "pitch_deg": np.degrees(np.arcsin(forward[2])),
            "roll_deg": np.degrees(roll),
        }

    def place(self, name: str, pixels: np.ndarray):
        n = len(pixels)
        views = Views(**{key: np.full(n, value) for key, value in self.poses[name].items()})
        bases = Bases.of_pixels(pixels, np.tile(np.eye(2), (n, 1, 1)))
        return place_bases(bases, views, [self.camera] * n, self.model, sigmas=SIGMAS["odm"])


def _matches(first: Path, second: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels of the same points in two images: features that are unlike all others."""
    sift = cv2.SIFT_create(4000)
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (first, second)]
    (keys_a, features_a), (keys_b, features_b) = (
        sift.detectAndCompute(one, None) for one in images
    )
    best = cv2.BFMatcher().knnMatch(features_a, features_b, k=2)
    pairs = [pair for pair, second in best if pair.distance < 0.75 * second.distance]
    a = np.array([keys_a[pair.queryIdx].pt for pair in pairs]) + 0.5
    b = np.array([keys_b[pair.trainIdx].pt for pair in pairs]) + 0.5
    _, kept = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, 1.0, 0.9999, 10_000)
    kept = kept.ravel().astype(bool)
    return a[kept], b[kept]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [("100_0005_0018", "100_0005_0136"), ("100_0005_0140", "100_0005_0142")],
)
def test_ground_seen_in_two_images_falls_on_one_place(odm, first, second):
    reconstruction = Reconstruction(odm)
    pixels = _matches(*(odm / "images" / f"{name}.tif" for name in (first, second)))
    one, other = (
        reconstruction.place(name, of) for name, of in zip((first, second), pixels, strict=True)
    )
    met = (one.reasons == "") & (other.reasons == "")
    assert met.sum() > 40
    frame = LocalFrame.around(one.latitude_deg[met], one.longitude_deg[met])
    off = frame.to_metres(one.latitude_deg[met], one.longitude_deg[met]) - frame.to_metres(
        other.latitude_deg[met], other.longitude_deg[met]
    )
    together = (one.covariances + other.covariances)[met]
    distance = np.einsum("ni,nij,nj->n", off, np.linalg.inv(together), off)
    assert np.median(np.hypot(*off.T)) < 0.2
    assert (distance <= CHI2_95).mean() > 0.95


@pytest.mark.filterwarnings("ignore")
def test_places_are_orthoritys(odm):
    readers = pytest.importorskip("orthority.param_io")
    from orthority.camera import create_camera

    reconstruction = Reconstruction(odm)
    reader = readers.OsfmReader(odm / "opensfm" / "reconstruction.json", crs="EPSG:32651")
    lens = dict(next(iter(reader.read_int_param().values())))
    kind = lens.pop("cam_type")
    pixels = np.random.default_rng(0).uniform((60, 60), (1300, 850), (200, 2))
    for name, pose in reader.read_ext_param().items():
        found = reconstruction.place(name, pixels)
        met = found.reasons == ""
        camera = create_camera(kind, xyz=pose["xyz"], opk=pose["opk"], **lens)
        expected = camera.pixel_to_world_z((pixels[met] - 0.5).T, found.ground_m[met])
        x, y = reconstruction.zone.transform(found.longitude_deg[met], found.latitude_deg[met])
        off = np.hypot(x - expected[0], y - expected[1])
        assert met.sum() > 150
        assert np.median(off) < 0.05
        assert off.max() < 0.3
