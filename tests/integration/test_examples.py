"""The scripts of ``examples/``: run as a user runs them, held to this package's boxes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lively_weights import lively_model, save

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.options.export import ExportOptions
from yolo_ema.scenes.scene import draw_scene

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = {
    "onnx": "onnxruntime_boxes.py",
    "openvino": "openvino_boxes.py",
    "torchscript": "torchscript_boxes.py",
    "ncnn": "ncnn_boxes.py",
}
NAMES = {
    0: "pedestrian",
    1: "o'clock",
    2: "awning-tricycle",
}  # a quotation mark has to survive every format's metadata
SIZES = {"square": (160,), "rectangular": (96, 160)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Weights, and a drawn scene whose sides scale to odd numbers: letterboxing has to round as the
    package does.
    """
    folder = tmp_path_factory.mktemp("examples")
    model = lively_model("tiny", classes=3)
    model.names = NAMES
    # surer, and boxes of a few pixels: on this scene the weights would find little, and that as
    # large as it
    with torch.no_grad():
        for boxes, classes in zip(model.model[-1].cv2, model.model[-1].cv3, strict=True):
            classes[-1].bias += 2.5
            boxes[-1].bias -= 0.4 * torch.arange(16).repeat(4)
    save(model, folder / "tiny.pt")
    cv2.imwrite(str(folder / "scene.png"), draw_scene(3, image_wh=(401, 227)).image_bgr)
    return folder


@pytest.fixture(scope="module")
def exported(place):
    """Return a function that exports the weights once for each way it is asked for."""
    made: dict[tuple, Path] = {}

    def export(name: str, **settings) -> Path:
        key = (name, *sorted(settings.items()))
        if key not in made:
            folder = place / f"export{len(made)}"
            folder.mkdir()
            options = ExportOptions(weights=place / "tiny.pt", format=(name,), **settings)
            made[key] = export_artifact(name, options, load_model(options.weights), folder).path
        return made[key]

    return export


def run(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, words)]
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
    }  # torch.jit.load is deprecated, and says so
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def boxes_of(lines: str) -> tuple[list[str], np.ndarray]:
    """Return the classes, and (N, 5) score and corners."""
    words = [line.rsplit(" ", 5) for line in lines.splitlines()]
    return [row[0] for row in words], np.array(
        [[float(word) for word in row[1:]] for row in words]
    ).reshape(-1, 5)


def hold(script: str, artifact: Path, place: Path) -> None:
    done = run(script, artifact, place / "scene.png", place / "out.png")
    assert done.returncode == 0, done.stderr
    classes, found = boxes_of(done.stdout)
    runtime = open_predictor(artifact, device="cpu", precision="f32", trust=True)
    wanted = runtime([cv2.imread(str(place / "scene.png"))])[0]
    assert len(found) == len(wanted) > 20
    # Where scores are equal to the printed digit the order is open: both sides by class, then
    # place.
    names = [NAMES[int(number)] for number in wanted[:, 5]]
    order, other = (
        np.lexsort((boxes[:, 1], boxes[:, 0], labels))
        for boxes, labels in ((found[:, 1:], classes), (wanted[:, :4], names))
    )
    assert [classes[k] for k in order] == [names[k] for k in other]
    np.testing.assert_allclose(found[order, 1:], wanted[other, :4], rtol=0, atol=0.01)
    np.testing.assert_allclose(found[order, 0], wanted[other, 4], rtol=0, atol=1e-3)
    assert cv2.imread(str(place / "out.png")).shape == (227, 401, 3)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_gives_the_boxes_of_the_package(name, size, place, exported):
    hold(SCRIPTS[name], exported(name, imgsz=SIZES[size]), place)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino", "torchscript"])
def test_an_example_takes_a_file_of_dynamic_size(name, place, exported):
    hold(SCRIPTS[name], exported(name, imgsz=(160,), dynamic=True), place)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_an_example_takes_a_file_with_nms_inside(name, place, exported):
    hold(SCRIPTS[name], exported(name, imgsz=(160,), nms=True), place)


def test_an_example_gives_what_detect_gives(place, exported, yolo_ema_command):
    artifact = exported("onnx", imgsz=(160,))
    done = yolo_ema_command(
        *(
            "detect",
            place / "scene.png",
            "--weights",
            artifact,
            "--tile",
            "off",
            "--save",
            "jsonl",
            "--out",
            "out",
        ),
        cwd=place,
    )
    assert done.code == 0, done.err
    row = json.loads((place / "out" / "detections.jsonl").read_text().splitlines()[0])
    classes, found = boxes_of(run(SCRIPTS["onnx"], artifact, place / "scene.png").stdout)
    assert [one["class"] for one in row["detections"]] == classes
    np.testing.assert_allclose(
        found[:, 1:], [one["box_xyxy"] for one in row["detections"]], rtol=0, atol=0.01
    )


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_an_example_imports_none_of_our_code_and_little_else(script):
    allowed = {
        "ast",
        "json",
        "sys",
        "pathlib",
        "cv2",
        "numpy",
        "yaml",
        "onnxruntime",
        "openvino",
        "ncnn",
        "torch",
    }
    tree = ast.parse((EXAMPLES / script).read_text(encoding="utf-8"))
    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    imported |= {
        str(node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert imported <= allowed
    assert ("torch" in imported) == (script == SCRIPTS["torchscript"])
    assert ("yaml" in imported) == (script == SCRIPTS["ncnn"])


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_an_example_is_short(script):
    lines = [
        line
        for line in (EXAMPLES / script).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert len(lines) <= 60


def test_an_example_names_an_image_that_cannot_be_read(place, exported):
    done = run(SCRIPTS["onnx"], exported("onnx", imgsz=(160,)), place / "tiny.pt")
    assert done.returncode == 1
    assert "tiny.pt is not an image that OpenCV can read" in done.stderr


def test_the_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SCRIPTS.values(), "map_a_flight.py"}
    assert all(f"]({script})" in text for script in SCRIPTS.values())


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS.values())
def test_without_arguments_the_usage_is_shown(script):
    done = subprocess.run(
        [sys.executable, EXAMPLES / script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"Usage: python {script}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_drawn_flight_becomes_a_map(tmp_path):
    # Fewer and smaller frames than the script draws, and weights that need no torch.
    code = (
        "import pathlib, runpy, sys; import yolo_ema.cli; from yolo_ema.io.resources import "
        "weights_dir; "
        f"run = runpy.run_path({str(EXAMPLES / 'map_a_flight.py')!r})['run']; "
        "more = ['--weights', str(weights_dir() / 'yolo11n-ema-visdrone.onnx')]; "
        "run.__globals__.update(FRAMES=3, IMAGE_WH=(480, 270), main=lambda words: "
        "yolo_ema.cli.main([*words, *more])); "
        "sys.exit(run(pathlib.Path('flight')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "flight" / "map" / "objects.gpkg").exists()
    assert json.loads((tmp_path / "flight" / "map" / "objects.geojson").read_text())["features"]
