"""Detection with an exported file needs neither torch nor Ultralytics, and little of the disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from edge_packages import REPOSITORY, edge_packages, runtime_packages
from lively_weights import lively_model, save

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.options.export import ExportOptions
from yolo_ema.scenes import draw_clip

pytest.importorskip("onnxruntime")
MOST_MEGABYTES = 600
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a clip, an image and weights in each format."""
    folder = tmp_path_factory.mktemp("edge")
    scenes = draw_clip(3, frames=12, fps=10, image_wh=(480, 320))
    with VideoWriter(folder / "clip.mp4", frame_rate=Fraction(10), image_wh=(480, 320)) as writer:
        for scene in scenes:
            writer.write(scene.image_bgr)
    (folder / "poses.csv").write_text(
        "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg,hfov_deg\n"
        "0,47.1234,8.7654,60,92,-60,64\n2,47.1235,8.7654,60,92,-60,64\n"
    )
    model = lively_model("tiny")
    model.names = dict(enumerate(VISDRONE_CLASSES))
    weights = save(model, folder / "tiny.pt")
    options, loaded = ExportOptions(weights=weights, imgsz=(256,)), load_model(weights)
    for name in FORMATS:
        (folder / name).mkdir()
        export_artifact(name, options, loaded, folder / name)
    return folder


def file_of(place: Path, name: str) -> Path:
    return next(path for path in (place / name).iterdir())


def boxes_of(out: Path) -> list[list[float]]:
    """Return score, corners and identity of each object of each frame."""
    frames = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    return [
        [index, found["score"], *found["box_xyxy"], found.get("track_id") or -1]
        for index, frame in enumerate(frames)
        for found in frame["detections"]
    ]


def assert_same(out: Path, expected: Path) -> None:
    ours, theirs = boxes_of(out), boxes_of(expected)
    assert len(ours) == len(theirs) > 50
    assert len({row[-1] for row in ours}) > 3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.01)


def python_alone(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where no other package can be imported."""
    blocked = "import sys; from edge_packages import OnlyEdgePackages\n"
    blocked += "sys.meta_path.insert(0, OnlyEdgePackages([]))\n"
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))
    return subprocess.run(
        [sys.executable, "-c", blocked + code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def run_alone(
    place: Path, *words: object, more: str = "", verb: str = "detect"
) -> subprocess.CompletedProcess[str]:
    """Run a verb where no other package can be imported."""
    command = [sys.executable, str(REPOSITORY / "tests/edge_packages.py"), more, verb]
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_everything_about_detection_works_without_torch(place, yolo_ema_command, name):
    """Tiles, tracking, counting, every sink and map, and the live page."""
    pytest.importorskip(FORMATS[name])
    words = ["clip.mp4", "--weights", file_of(place, name), "--tile", "240x200", "--track"]
    words += ["--count-line", "gate=0,0.5,1,0.5", "--zone", "0,0,1,0,1,1", "--count-on", "ground"]
    every = "annotated,jsonl,csv,coco,visdrone,yolo,crops,mot,visdrone-mot"
    maps = "geojson,gpkg,kml,html,positions"
    words += ["--save", f"{every},{maps}", "--telemetry", "poses.csv"]
    words += ["--serve", "0", "--conf", "0.4"]
    done = run_alone(place, *words, "--out", f"{name}-alone", more=FORMATS[name])
    assert done.returncode == 0, done.stderr
    assert "live page: http" in done.stderr
    usual = yolo_ema_command("detect", *words, "--out", f"{name}-usual", cwd=place)
    assert usual.code == 0, usual.err
    assert_same(place / f"{name}-alone", place / f"{name}-usual")
    files, expected = (
        sorted(path.relative_to(folder) for path in folder.rglob("*"))
        for folder in (place / f"{name}-alone", place / f"{name}-usual")
    )
    assert files == expected
    assert {"objects.geojson", "objects.gpkg", "objects.kml", "map.html"} <= set(map(str, files))
    assert "gate" in done.stdout


@pytest.mark.slow
def test_what_was_detected_is_put_on_the_map_and_scored_without_torch(place):
    """By the verbs that docs/edge.md names beside ``detect``."""
    (place / "seen.jsonl").write_text(
        '{"source": "clip.mp4", "frame": 0, "time_s": 0.0, "width": 480, "height": 320, '
        '"detections": [{"class": "car", "score": 0.9, "box_xyxy": [200, 200, 250, 240]}]}\n'
    )
    for folder, row in (("annotations", "10,20,30,15,1,4,0,0"), ("results", "10,20,30,15,0.9,4")):
        (place / folder).mkdir()
        (place / folder / "a.txt").write_text(f"{row}\n")
    (place / "sizes.csv").write_text("image,width,height\na,640,360\n")
    located = run_alone(
        place, "seen.jsonl", "--telemetry", "poses.csv", "--out", "seen.html", verb="locate"
    )
    assert located.returncode == 0, located.stderr
    assert "<html" in (place / "seen.html").read_text()
    words = ["--annotations", "annotations", "--results", "results", "--sizes", "sizes.csv"]
    scored = run_alone(place, *words, verb="score")
    assert scored.returncode == 0, scored.stderr
    doctor = run_alone(place, verb="doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "not installed: .pt weights, training and --gpu need it" in doctor.stdout


@pytest.mark.slow
def test_torch_weights_say_what_is_missing(place):
    done = run_alone(place, "clip.mp4", "--weights", "tiny.pt", "--save", "none")
    assert done.returncode == 6
    assert re.search(
        r"tiny\.pt .*needs torch, which is not installed.*pip install yolo-ema.*yolo-ema export",
        done.stderr,
    )


@pytest.mark.slow
def test_an_exported_file_on_a_gpu_says_that_the_cpu_needs_no_torch(place):
    words = ["clip.mp4", "--weights", file_of(place, "onnx"), "--device", "cuda", "--save", "none"]
    done = run_alone(place, *words)
    assert done.returncode == 6
    assert re.search(r"--device cuda needs torch, .*, or take --device cpu\n", done.stderr)


@pytest.mark.slow
def test_the_default_weights_are_an_exported_file(place):
    words = ["clip.mp4", "--save", "jsonl", "--tile", "off", "--out", "default"]
    done = run_alone(place, *words)
    assert done.returncode == 0, done.stderr
    assert "torch is not installed: detecting with the shipped yolo11n-ema-visdrone.onnx" in (
        done.stderr
    )
    assert len((place / "default/detections.jsonl").read_text().splitlines()) == 12
    detector = python_alone(
        "from yolo_ema import Detector, read_file_metadata\n"
        "weights = Detector().weights\n"
        "print(weights.name, read_file_metadata(weights).stride)\n"
    )
    assert detector.stdout == "yolo11n-ema-visdrone.onnx 32\n", detector.stderr


def test_other_verbs_say_what_is_missing(place):
    command = [sys.executable, str(REPOSITORY / "tests/edge_packages.py"), "", "train"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 6
    assert re.search(r"train needs the package \w+, which is not installed here", done.stderr)


def test_public_names_that_need_torch_say_so():
    names = ("train", "export", "validate", "EfficientMultiScaleAttention")
    done = python_alone(
        "import yolo_ema\n"
        f"for name in {names}:\n"
        "    try:\n"
        "        getattr(yolo_ema, name)\n"
        "    except yolo_ema.YoloEmaError as error:\n"
        "        print(error)\n"
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    for name, line in zip(names, lines, strict=True):
        assert re.match(rf"yolo_ema\.{name} needs the package \w+, which is not installed", line)


def test_the_doctor_knows_the_features_without_onnx_runtime_too():
    """The last lines of the list are replaced for OpenVINO and for ncnn."""
    done = python_alone(
        "from edge_packages import runtime_packages\n"
        "sys.meta_path[0] = OnlyEdgePackages([], without=runtime_packages())\n"
        "from yolo_ema.doctor.packages import features\n"
        "print([row.name for row in features()])\n"
    )
    assert done.returncode == 0, done.stderr
    assert "[openvino]" in done.stdout
    edge = (REPOSITORY / "docs" / "edge.md").read_text(encoding="utf-8")
    words = f"`{' '.join(_last_lines(3))}`"
    assert "the last three lines of the list" in edge
    assert f"| ONNX Runtime | {words} |" in edge
    assert runtime_packages() == set(_last_lines(3))


def _last_lines(count: int) -> list[str]:
    lines = (REPOSITORY / "requirements-edge.txt").read_text(encoding="utf-8").split("\n")
    return [line.partition(">=")[0] for line in lines if line][-count:]


def test_the_lower_bounds_are_those_of_the_package():
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    bounds = dict(re.findall(r'"([\w-]+)(>=[\w.]+)[",]', text))
    bounds["opencv-python-headless"] = bounds["opencv-python"]
    edge = edge_packages()
    assert {"numpy", "onnxruntime", "opencv-python-headless", "av"} <= edge.keys()
    assert {name: bounds[name] for name in edge if name in bounds} == {
        name: bound for name, bound in edge.items() if name in bounds
    }
    assert not {"torch", "ultralytics", "matplotlib", "albumentations", "pydantic"} & edge.keys()


@pytest.mark.slow
def test_the_documented_command_makes_a_small_environment_that_finds_the_same(
    place, yolo_ema_command, tmp_path
):
    if not _index_answers(tmp_path):
        pytest.skip("needs the package index, which does not answer here")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("yolo_ema*.whl"))
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    programs = environment / "bin"
    listed = str(REPOSITORY / "requirements-edge.txt")
    install = [str(programs / "pip"), "install", "--quiet", "--no-deps", "-r", listed, str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file())
    assert size < MOST_MEGABYTES * 1e6
    words = ["clip.mp4", "--weights", file_of(place, "onnx"), "--track", "--conf", "0.4"]
    words += ["--save", "annotated,jsonl,mot"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(programs / "yolo-ema"), "detect", *map(str, words), "--out", str(tmp_path / "edge")],
        cwd=place,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    usual = yolo_ema_command("detect", *words, "--out", tmp_path / "usual", cwd=place)
    assert usual.code == 0, usual.err
    assert_same(tmp_path / "edge", tmp_path / "usual")
    mot = "mot/clip.txt"
    assert (tmp_path / "edge" / mot).read_text() == (tmp_path / "usual" / mot).read_text()


def _index_answers(folder: Path) -> bool:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "-d",
            str(folder),
            "tqdm",
        ],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
