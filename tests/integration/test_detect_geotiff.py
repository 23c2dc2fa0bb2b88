"""``yolo-ema detect`` on GeoTIFFs: boxes against the image read at once, places against pyproj;
what is skipped, damaged, refused, killed, and how much memory it takes.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema import Detector
from yolo_ema.cli import main
from yolo_ema.detect import orthomosaic as orthomosaic_module
from yolo_ema.detect.orthomosaic import detect_orthomosaics
from yolo_ema.detect.orthomosaic_sources import orthomosaics_in
from yolo_ema.options.detect import DetectOptions

rasterio = pytest.importorskip("rasterio")
pyproj = pytest.importorskip("pyproj")
pytest.importorskip("onnxruntime")

from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.transform import Affine, from_origin  # noqa: E402

CONF = "0.3"
UTM = "EPSG:32632"
PLACE = from_origin(465_000.0, 5_247_000.0, 0.1, 0.1)
WH = (500, 420)
TILED = ("--tile", "192x192", "--overlap", "0.25", "--conf", CONF)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory) -> Path:
    from ultralytics import YOLO

    model = lively_model("tiny")
    model.names = dict(enumerate("abcdefghij"))
    weights = save(model, tmp_path_factory.mktemp("weights") / "tiny.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch on a shape
        return Path(YOLO(weights).export(format="onnx", imgsz=(192, 192), verbose=False))


def write_tiff(
    path: Path, bands: np.ndarray, *, crs=UTM, transform=PLACE, colours=None, **profile
) -> Path:
    """Write (B, H, W)."""
    count, height, width = bands.shape
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=count,
            dtype=bands.dtype,
            crs=crs,
            transform=transform,
            **profile,
        ) as file:
            file.write(bands)
            if colours:
                file.colorinterp = colours
    return path


def rgb_of(bgr: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1))


def at_once(onnx_file: Path, bgr: np.ndarray) -> np.ndarray:
    """The boxes of the whole image in memory, with the same tiles, sorted."""
    detector = Detector(
        onnx_file,
        tile=(192, 192),
        overlap=0.25,
        whole_frame=False,
        conf=float(CONF),
        max_det=30_000,
    )
    found = detector.detections(bgr)
    return ordered(np.column_stack((found.boxes_xyxy, found.scores, found.class_ids)))


def ordered(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(np.round(rows, 1).T)]


def rows_in(path: Path) -> np.ndarray:
    """The content of a JSON Lines file."""
    objects = [json.loads(line) for line in path.read_text().splitlines()]
    return ordered(
        np.array(
            [[*one["box_xyxy"], one["score"], "abcdefghij".index(one["class"])] for one in objects]
        ).reshape(-1, 6)
    )


def lines_in(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def detect(capsys, onnx_file, tmp_path):
    """The command line in this process, which has everything loaded."""

    def run(path: Path, *words: object, out: str = "out", code: int = 0, tiled=TILED):
        command = ["detect", path, "--weights", onnx_file, "--out", tmp_path / out, "--json"]
        assert main([*map(str, command), *tiled, *map(str, words)]) == code
        said = capsys.readouterr()
        return json.loads(said.out)["orthomosaics"][0] if said.out else said.err

    return run


def test_boxes_are_those_of_the_image_read_at_once(detect, onnx_file, tmp_path):
    image = picture(3, WH)
    found = detect(write_tiff(tmp_path / "ortho.tif", rgb_of(image)))
    expected = at_once(onnx_file, image)
    assert len(expected) > 20
    np.testing.assert_allclose(rows_in(tmp_path / "out/ortho.jsonl"), expected, atol=0.02)
    assert found["objects"] == len(expected) == sum(found["objects_per_class"].values())
    windows = found["windows"]
    assert windows.pop("total") == windows.pop("detected") == 12
    assert set(windows.values()) == {0}
    assert found["area_m2"] == pytest.approx(0.01 * WH[0] * WH[1], rel=2e-3)
    assert sorted(found["files"]) == ["csv", "geojson", "gpkg", "jsonl"]
    assert not list((tmp_path / "out").glob("*journal*"))


def at(affine: Affine, column: float, row: float) -> tuple[float, float]:
    a, b, c, d, e, f = affine[:6]
    return a * column + b * row + c, d * column + e * row + f


@pytest.mark.parametrize("block", [{}, {"tiled": False, "blockysize": 1}, {"BIGTIFF": "YES"}])
@pytest.mark.parametrize("crs", ["EPSG:2056"])
def test_places_are_those_of_pyproj_for_a_rotated_raster(detect, tmp_path, block, crs):
    turned = Affine(0.17, 0.1, 2_600_000, 0.1, -0.17, 1_200_000)
    options = {name: block.get(name) for name in block}
    if block.get("tiled") is False:
        options["blockxsize"] = WH[0]
    path = write_tiff(
        tmp_path / "o.tif", rgb_of(picture(3, WH)), crs=crs, transform=turned, **options
    )
    found = detect(path)
    assert found["projection"] == "CH1903+ / LV95"
    to_degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    objects = lines_in(tmp_path / "out/o.jsonl")
    assert objects
    for one in objects:
        x1, y1, x2, y2 = one["box_xyxy"]
        corners = {at(turned, *corner) for corner in ((x1, y1), (x1, y2), (x2, y2), (x2, y1))}
        for x, y in corners:
            assert min(np.hypot(x - u, y - v) for u, v in one["polygon_xy"]) < 0.01
            longitude, latitude = to_degrees.transform(x, y)
            ring = one["geometry"]["coordinates"][0]
            assert min(np.hypot(longitude - u, latitude - v) for u, v in ring) < 3e-7
        middle = to_degrees.transform(*at(turned, (x1 + x2) / 2, (y1 + y2) / 2))
        assert [one["longitude_deg"], one["latitude_deg"]] == pytest.approx(middle, abs=3e-7)


def test_files_hold_the_same_objects_each_in_its_own_format(detect, tmp_path):
    detect(write_tiff(tmp_path / "o.tif", rgb_of(picture(3, WH))))
    objects = lines_in(tmp_path / "out/o.jsonl")
    features = json.loads((tmp_path / "out/o.geojson").read_text())["features"]
    assert [feature["geometry"] for feature in features] == [one["geometry"] for one in objects]
    for feature in features:
        x, y = np.array(feature["geometry"]["coordinates"][0]).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0 or (
            ((x[:-1] - x[0]) * (y[1:] - y[0]) - (x[1:] - x[0]) * (y[:-1] - y[0])).sum() > 0
        )
    with (tmp_path / "out/o.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["longitude_deg"]) for row in table] == [o["longitude_deg"] for o in objects]
    with sqlite3.connect(tmp_path / "out/o.gpkg") as package:
        system = package.execute("SELECT srs_id FROM gpkg_geometry_columns").fetchone()
        rows = package.execute("SELECT geom, class, latitude_deg FROM objects").fetchall()
        extent = package.execute("SELECT min_x, max_y FROM gpkg_contents").fetchone()
        known = package.execute("SELECT organization FROM gpkg_spatial_ref_sys WHERE srs_id=32632")
        assert known.fetchone() == ("EPSG",)
    package.close()
    assert system == (32632,)
    assert [row[2] for row in rows] == [one["latitude_deg"] for one in objects]
    for (blob, *_), one in zip(rows, objects, strict=True):
        assert blob[:4] == b"GP\0\3"
        assert struct.unpack("<i", blob[4:8]) == (32632,)
        points = np.frombuffer(blob[8 + 32 + 13 :]).reshape(-1, 2)
        np.testing.assert_array_equal(points, one["polygon_xy"])
    every = np.concatenate([one["polygon_xy"] for one in objects])
    assert extent == (every[:, 0].min(), every[:, 1].max())


@pytest.mark.parametrize("kind", ["uint16", "float32", "int16"])
def test_a_stretch_gives_the_boxes_of_the_8_bit_image(detect, onnx_file, tmp_path, kind):
    image = picture(3, WH)
    values = (rgb_of(image).astype(np.float64) * 100 + 200).astype(kind)
    found = detect(write_tiff(tmp_path / "o.tif", values), "--stretch", "200,25700")
    assert any("values from 200 to 25700 are shown as 0 to 255" in r for r in found["remarks"])
    np.testing.assert_allclose(
        rows_in(tmp_path / "out/o.jsonl"), at_once(onnx_file, image), atol=0.02
    )


def test_the_default_stretch_covers_the_whole_file_and_is_reported(detect, onnx_file, tmp_path):
    values = rgb_of(picture(3, WH)).astype(np.uint16) * 37
    values[:, :, 300:] += 9000  # another light on one side: windows of their own would hide it
    found = detect(write_tiff(tmp_path / "o.tif", values))
    low, high = np.percentile(values, (2, 98))
    shown = np.rint(np.clip((values - low) / (high - low), 0, 1).astype(np.float32) * 255)
    bgr = np.ascontiguousarray(shown.astype(np.uint8)[::-1].transpose(1, 2, 0))
    np.testing.assert_allclose(rows_in(tmp_path / "out/o.jsonl"), at_once(onnx_file, bgr), atol=0.3)
    assert any(f"values from {low:g} to {high:g}" in remark for remark in found["remarks"])


def test_overviews_are_used_for_the_stretch_and_never_for_the_windows(detect, onnx_file, tmp_path):
    image = picture(3, WH)
    expected = at_once(onnx_file, image)
    coded = [rgb_of(image), rgb_of(image).astype(np.uint16) * 37 + 500]
    for number, values in enumerate(coded):
        path = write_tiff(tmp_path / f"o{number}.tif", values)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
            overview = file.read(out_shape=(3, WH[1] // 2, WH[0] // 2))
        found = detect(path, *(["--stretch", "500,9935"] if number else []))
        rows = rows_in(tmp_path / f"out/o{number}.jsonl")
        np.testing.assert_allclose(rows, expected, atol=0.02)
    found = detect(path, out="by-itself")
    said = next(one for one in found["remarks"] if "are shown as 0 to 255" in one)
    low, high = (float(word) for word in re.findall(r"[\d.]+", said)[:2])
    assert (low, high) == pytest.approx(np.percentile(overview, (2, 98)), rel=0.1)


@pytest.mark.parametrize("how", ["nodata", "alpha", "nan"])
def test_windows_without_data_are_counted_and_what_is_hidden_is_grey(
    detect, onnx_file, tmp_path, how
):
    image, seen = picture(3, WH), np.zeros(WH[::-1], bool)
    seen[:200, :260] = True
    rgb = np.maximum(rgb_of(image), 1)
    words: tuple[str, ...] = ()
    if how == "alpha":
        rgba = np.concatenate([rgb, seen[None].astype(np.uint8) * 255])
        colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        path = write_tiff(tmp_path / "o.tif", rgba, colours=colours)
    elif how == "nodata":
        path = write_tiff(tmp_path / "o.tif", np.where(seen, rgb, 0).astype(np.uint8), nodata=0)
    else:
        path = write_tiff(tmp_path / "o.tif", np.where(seen, rgb, np.nan).astype(np.float32))
        words = ("--stretch", "0,255")
    found = detect(path, *words)
    shown = np.where(seen[..., None], rgb.transpose(1, 2, 0)[..., ::-1], 114).astype(np.uint8)
    # A window of grey alone may have boxes in a network of chance, and is not run here.
    expected = [row for row in at_once(onnx_file, shown) if row[0] < 260 and row[1] < 200]
    rows = rows_in(tmp_path / "out/o.jsonl")
    near = [row for row in rows if row[2] < 200 and row[3] < 150]
    assert near
    for row in near:
        assert np.abs(np.array(expected)[:, :4] - row[:4]).max(axis=1).min() < 0.05
    assert found["windows"]["no_data"] == 6
    assert found["windows"]["detected"] == 6
    assert found["area_m2"] == pytest.approx(0.01 * 200 * 260, rel=2e-3)


def test_the_requested_bands_are_used_and_one_band_is_grey(detect, onnx_file, tmp_path):
    image = picture(3, WH)
    path = write_tiff(tmp_path / "o.tif", rgb_of(image)[::-1])
    found = detect(path, "--bands", "3,2,1", "--save", "jsonl")
    np.testing.assert_allclose(
        rows_in(tmp_path / "out/o.jsonl"), at_once(onnx_file, image), atol=0.02
    )
    assert "bands 3,2,1 of 3 are shown as R,G,B" in found["remarks"]
    assert list(found["files"]) == ["jsonl"]
    grey = write_tiff(tmp_path / "grey.tif", image[..., 0][None])
    assert "band 1 alone is shown, as grey" in detect(grey)["remarks"]
    np.testing.assert_allclose(
        rows_in(tmp_path / "out/grey.jsonl"),
        at_once(onnx_file, np.repeat(image[..., :1], 3, axis=2)),
        atol=0.02,
    )


def test_a_damaged_block_loses_only_its_windows(detect, tmp_path):
    path = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, WH)), compress="deflate")
    whole = detect(path, out="whole")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    found = detect(path, code=5)
    lost = found["windows"]["unreadable"]
    assert 0 < lost < found["windows"]["total"]
    assert found["windows"]["detected"] == found["windows"]["total"] - lost
    assert len(found["unreadable_windows"]) == lost
    assert all(window["reason"] for window in found["unreadable_windows"])
    assert 0 < found["objects"] < whole["objects"]


def test_without_a_projection_polygons_use_the_files_coordinates_and_that_is_reported(
    detect, tmp_path
):
    path = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, WH)), crs=None)
    found = detect(path)
    assert any("names no projection" in remark for remark in found["remarks"])
    assert "no GeoJSON is written: it needs longitude and latitude" in found["remarks"]
    one = lines_in(tmp_path / "out/o.jsonl")[0]
    assert one["longitude_deg"] is one["geometry"] is None
    assert one["polygon_xy"][0][0] > 465_000 - 1


def test_a_large_plain_tiff_is_read_by_windows_in_pixels(detect, onnx_file, tmp_path):
    image = picture(3, WH)
    path = write_tiff(tmp_path / "o.tif", rgb_of(image), crs=None, transform=None)
    found = detect(path, "--max-pixels", WH[0] * WH[1] - 1)
    assert "so polygons are in pixels" in found["remarks"]
    one = lines_in(tmp_path / "out/o.jsonl")[0]
    assert one["box_xyxy"][0] == pytest.approx(min(x for x, _ in one["polygon_xy"]), abs=0.01)


def test_a_plain_small_tiff_and_no_georeference_stay_images(yolo_ema_command, onnx_file, tmp_path):
    plain = write_tiff(tmp_path / "p.tif", rgb_of(picture(3, WH)), crs=None, transform=None)
    placed = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, WH)))
    result = yolo_ema_command(
        *("detect", plain, placed, "--no-georeference", "--weights", onnx_file, "--save", "coco"),
        *("--out", tmp_path / "images", "--json"),
    )
    assert result.code == 0, result.err
    assert [source["frames"] for source in result.json["sources"]] == [1, 1]
    result = yolo_ema_command("detect", plain, placed, "--weights", onnx_file)
    assert result.code == 2
    assert "o.tif is an orthomosaic, and " in result.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--bands", "1,2,7"), 2, "--bands names band 7; "),
        (("--bands", "1,2"), 2, "--bands is 1,2; expected three bands"),
        (("--stretch", "9,3"), 2, "--stretch is 9,3; expected the value that becomes black"),
        (("--track",), 2, "--track, lines and zones: not for "),
        (("--vid-stride", "2"), 2, "--vid-stride, --start and --end: not for "),
        (("--save", "coco"), 2, "--save coco is not for "),
        (("--tile", "off", "--max-pixels", "1000"), 2, "--tile off would read 500x420 pixels"),
    ],
)
def test_an_impossible_request_is_one_clear_error(detect, tmp_path, words, code, said):
    path = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, WH)))
    error = detect(path, *words, code=code)
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("out/*.geojson"))


def test_a_file_of_nodata_alone_is_an_error(detect, tmp_path):
    path = write_tiff(tmp_path / "o.tif", np.zeros((3, 420, 500), np.uint8), nodata=0)
    assert "all its 12 windows are nodata or transparent" in detect(path, code=5)
    path = write_tiff(tmp_path / "f.tif", np.full((3, 420, 500), np.nan, np.float32))
    assert "has no data to choose a stretch from" in detect(path, code=5)


WITHOUT_RASTERIO = """
import sys, importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "rasterio" else find(name, *rest)
sys.modules["rasterio"] = None
for name in ("torch", "ultralytics"):
    sys.modules[name] = None
from yolo_ema.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_rasterio_it_is_an_image_and_a_large_one_names_the_extra(onnx_file, tmp_path):
    path = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, WH)))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_RASTERIO, "detect", path, "--weights", onnx_file]
        return subprocess.run(
            [*map(str, command), "--out", str(tmp_path / "out"), *map(str, words)],
            capture_output=True,
            check=False,
            text=True,
            timeout=300,
        )

    result = run("--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["sources"][0]["frames"] == 1
    assert 'pip install "yolo-ema[geo]"' in result.stderr
    result = run("--max-pixels", 1000)
    assert result.returncode == 6, result.stderr
    assert (
        'needs rasterio, and that is not installed here; install it with: pip install "yolo-'
        in (result.stderr)
    )


RUN = """
import sys
for name in ("torch", "torchvision", "ultralytics"):
    sys.modules[name] = None
from yolo_ema.cli import main
code = main(sys.argv[1:])
from yolo_ema.io.machine import peak_memory_bytes
print(peak_memory_bytes(), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_where_it_stopped(detect, onnx_file, tmp_path):
    path = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, (1500, 1500))))
    tiled = ("--tile", "96x96", "--conf", CONF)
    detect(path, out="whole", tiled=tiled)
    command = [sys.executable, "-c", RUN, "detect", path, "--weights", onnx_file, *tiled]
    process = subprocess.Popen([*map(str, command), "--out", str(tmp_path / "out")], stderr=-3)
    journal = tmp_path / "out/o.windows.journal"
    while not journal.exists() or journal.stat().st_size < 32_000:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [file.suffix for file in (tmp_path / "out").glob("o.*[!l]")] in (
        [],
        [".journal-journal"],
    )
    other = detect(path, tiled=(*tiled[:2], "--conf", "0.5"), code=2)
    assert "belongs to a run with other settings: conf was 0.3 and is 0.5" in other
    found = detect(path, tiled=tiled)
    assert 0 < found["windows"]["resumed"] < found["windows"]["total"]
    for name in ("o.csv", "o.jsonl"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.parametrize("suffix", [".tfw", ".TFW", ".wld"])
def test_a_world_file_makes_an_orthomosaic_of_an_image(onnx_file, tmp_path, suffix):
    path = write_tiff(tmp_path / "o.tif", rgb_of(picture(3, (90, 80))), crs=None, transform=None)
    options = DetectOptions(weights=onnx_file, source=[path])
    assert orthomosaics_in(options)[0] == ()
    path.with_suffix(suffix).write_text("0.1\n0\n0\n-0.1\n465000\n5247000\n")
    assert orthomosaics_in(options)[0] == (path,)


def test_an_interrupted_run_over_files_of_one_name_resumes_and_writes_each_once(
    onnx_file, tmp_path, monkeypatch
):
    for folder in "ab":
        (tmp_path / folder).mkdir()
    paths = [write_tiff(tmp_path / f / "o.tif", rgb_of(picture(3, (200, 200)))) for f in "ab"]
    options = DetectOptions(
        weights=onnx_file, source=paths, tile="96x96", conf=float(CONF), out=tmp_path / "out"
    )
    write = orthomosaic_module._Run._write
    calls = itertools.count()

    def interrupted(*given):
        if next(calls) == 1:
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(orthomosaic_module._Run, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect_orthomosaics(options, paths)
    others = replace(options, save=("gpkg", "csv"))
    result = detect_orthomosaics(others, paths)
    assert [sorted(mosaic.paths) for mosaic in result.orthomosaics] == 2 * [["csv", "gpkg"]]
    assert all(mosaic.resumed == mosaic.windows > 1 for mosaic in result.orthomosaics)
    assert [mosaic.paths["csv"].name for mosaic in result.orthomosaics] == ["o.csv", "o-2.csv"]
    assert sorted(path.name for path in (tmp_path / "out").glob("o*.csv")) == ["o-2.csv", "o.csv"]
    assert not list((tmp_path / "out").glob("*.journal"))


@pytest.mark.slow
def test_sixty_thousand_pixels_square_take_less_than_1500_mb(onnx_file, tmp_path):
    path, side = tmp_path / "big.tif", 60_000
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=side,
        height=side,
        count=1,
        dtype="uint8",
        crs=UTM,
        transform=PLACE,
        nodata=0,
        tiled=True,
        blockxsize=1024,
        blockysize=1024,
        compress="deflate",
        SPARSE_OK="TRUE",
        BIGTIFF="YES",
    ) as file:
        content = np.maximum(rgb_of(picture(3, (600, 500)))[:1], 1)
        file.write(content, window=rasterio.windows.Window(31_000, 45_000, 600, 500))
    command = [sys.executable, "-c", RUN, "detect", path, "--weights", onnx_file, "--json"]
    words = [
        "--tile",
        "2048x2048",
        "--overlap",
        "0.1",
        "--conf",
        CONF,
        "--out",
        tmp_path / "out",
        "--save",
        "jsonl",
    ]
    result = subprocess.run(
        [*map(str, command), *map(str, words)],
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["orthomosaics"][0]
    assert found["windows"]["no_data"] == found["windows"]["total"] - found["windows"]["detected"]
    assert 1 <= found["windows"]["detected"] <= 4
    assert found["objects"] > 0
    assert int(result.stderr.split()[-1]) < 1_500_000_000  # bytes
    boxes = rows_in(tmp_path / "out/big.jsonl")
    assert ((boxes[:, 0] < 31_600) & (boxes[:, 2] > 31_000) & (boxes[:, 3] > 45_000)).any()
