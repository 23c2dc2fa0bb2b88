"""ONNX files are valid by the rules of their format, and give the same boxes in readers that take
nothing else: ONNX Runtime in Node.js and for browsers, and OpenCV.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from lively_weights import lively_model, picture, save
from scipy.optimize import linear_sum_assignment

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.export.onnx_file import onnx_problems
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.options.export import ExportOptions

onnxruntime = pytest.importorskip("onnxruntime")

NODE = Path(__file__).parent.parent / "node"
HW = (64, 96)
WHOLE = {"simplify": "false"}
CASES = {
    # name: weights, settings of the export, whether OpenCV's DNN reads it
    "fixed": ("yolo11n-ema", {}, True),
    "dynamic": ("yolo11n-ema", {"dynamic": True}, True),
    "not simplified": ("yolo11n-ema", {"dynamic": True, "settings": WHOLE}, True),
    "NMS inside": ("yolo11n-ema", {"nms": True}, True),
    "yolov5": ("yolov5n-ema-p2", {"dynamic": True}, True),
    "yolov8": ("yolov8n-ema-p2", {"dynamic": True}, True),
    "yolo26": ("yolo26n-ema-p2", {"dynamic": True}, True),
    "head without NMS": ("yolo26n-ema", {"nms": False, "dynamic": True}, True),
    "fp16": ("yolov8n-ema", {"quantize": "fp16", "dynamic": True}, False),
    "fp16, not simplified": ("yolov5n-ema", {"quantize": "fp16", "settings": WHOLE}, False),
    "int8": ("yolo11n-ema", {"quantize": "int8", "dynamic": True}, False),
    "int8, not simplified": ("yolo26n-ema", {"quantize": "int8", "settings": WHOLE}, False),
}
PX, SCORE = 0.02, 2e-4
ROUNDED = {"fp16": {"px": 0.6, "score": 0.005}, "int8": {"px": 2.0, "score": 0.05}}
"""Versions of the runtime round differently: half precision has steps of 0.25 at 300 pixels."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function that exports the file of a case, once."""
    folder = tmp_path_factory.mktemp("valid-onnx")
    (folder / "pictures").mkdir()
    for seed in range(2):
        cv2.imwrite(str(folder / f"pictures/{seed}.png"), picture(seed))
    made: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name not in made:
            model, settings, _ = CASES[name]
            weights = folder / f"{model}.pt"
            if not weights.exists():
                save(lively_model(model), weights)
            calibrate = (folder / "pictures",) if settings.get("quantize") == "int8" else ()
            options = ExportOptions(weights=weights, imgsz=HW, calibrate=calibrate, **settings)
            place = folder / name.replace(" ", "-")
            place.mkdir()
            made[name] = export_artifact("onnx", options, load_model(weights), place).path
        return made[name]

    return export


def network_input() -> np.ndarray:
    return cv2.dnn.blobFromImage(picture(3, HW[::-1]), 1 / 255, swapRB=True)


def expected(file: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: network_input()})[0]


def hold(found: np.ndarray, wanted: np.ndarray, *, px: float = PX, score: float = SCORE) -> None:
    """Hold an answer (1, 4 + K, N) or (1, N, 6) to another, where it scores at all."""
    assert found.shape == wanted.shape
    if wanted.shape[2] == 6:
        # Boxes whose scores are equal but for rounding may stand in another order.
        apart = np.abs(found[0, None] - wanted[0, :, None]).max(axis=2)
        found, wanted = found[0, linear_sum_assignment(apart)[1], :5].T, wanted[0, :, :5].T
    else:
        found, wanted = found[0], wanted[0]
    strong = wanted[4:].max(axis=0) > 0.05
    assert strong.sum() > 5
    assert np.abs(found[:4, strong] - wanted[:4, strong]).max() < px
    assert np.abs(found[4:] - wanted[4:]).max() < score


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_checker_strict_inference_and_onnx_runtime_accept_it(name, exported):
    assert onnx_problems(exported(name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("library", ["onnxruntime-node", "onnxruntime-web"])
@pytest.mark.parametrize("name", CASES)
def test_node_and_browser_runtimes_give_the_same_boxes(name, library, exported, tmp_path):
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / library).is_dir():
        pytest.skip(f"{library} is not here: run npm install --ignore-scripts in tests/node")
    file, image, answer = exported(name), tmp_path / "input.bin", tmp_path / "output.bin"
    network_input().tofile(image)
    shape = ",".join(map(str, network_input().shape))
    done = subprocess.run(
        [node, NODE / "run_onnx.cjs", library, file, image, shape, answer],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    found = np.fromfile(answer, np.float32).reshape(json.loads(done.stdout))
    hold(found, expected(file), **ROUNDED.get(CASES[name][1].get("quantize"), {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_opencv_gives_the_same_boxes(name, exported):
    file = exported(name)
    net = cv2.dnn.readNetFromONNX(str(file))
    net.setInput(network_input())
    hold(net.forward(), expected(file))
