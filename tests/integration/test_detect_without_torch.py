"""An exported file is deployed without torch and Ultralytics: ``yolo-ema detect`` with everything
switched on, in a process where importing either fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import cv2
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.media.sinks.video_writer import VideoWriter

pytest.importorskip("onnxruntime")

WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "ultralytics"}:
            raise ImportError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory) -> Path:
    from ultralytics import YOLO

    model = lively_model("tiny")
    model.names = dict(enumerate("abcdefghij"))
    weights = save(model, tmp_path_factory.mktemp("weights") / "tiny.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch on a shape
        return Path(YOLO(weights).export(format="onnx", imgsz=(192, 320), verbose=False))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("footage") / "clip.mp4"
    with VideoWriter(path, frame_rate=Fraction(10), image_wh=(480, 288)) as writer:
        for _ in range(4):
            writer.write(picture(0, (480, 288)))
    return path


def run(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_verb_tiles_tracks_counts_draws_and_serves(onnx_file, clip, tmp_path):
    code = "from yolo_ema.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = run(
        code,
        *("detect", clip, "--weights", onnx_file, "--out", tmp_path, "--conf", 0.3, "--json"),
        *("--track", "--tile", "320x192", "--zone", "0,0,1,0,1,1,0,1", "--serve", 0),
        *("--save", "annotated,jsonl,csv,coco,yolo,crops,mot"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sources"][0]["frames"] == 4
    assert "tiles of 320x192" in result["tiling"]["480x288"]
    assert sum(result["sources"][0]["counts"]["zones"]["zone 1"]["visitors"].values()) > 0
    assert all(result["files"].values())


def test_detector_gives_numpy_arrays(onnx_file, clip):
    code = """
from yolo_ema import Detector
frames = list(Detector(sys.argv[1], track=True).stream_detections(sys.argv[2]))
print(len(frames), len(frames[-1]), int(frames[-1].track_ids.max()))
"""
    done = run(code, onnx_file, clip)
    assert done.returncode == 0, done.stderr
    frame_count, objects, last_id = map(int, done.stdout.split())
    assert frame_count == 4
    assert objects > 0
    assert last_id > 0


def test_ultralytics_results_say_what_they_need(onnx_file):
    code = """
import numpy as np
from yolo_ema import Detector
Detector(sys.argv[1]).detect(np.zeros((192, 320, 3), np.uint8))
"""
    done = run(code, onnx_file)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "MissingPackageError" in last
    assert "Detector.detections" in last


def test_an_image_loads_nothing_that_only_other_work_needs(onnx_file, tmp_path):
    """Each of these would add to the time until the first boxes."""
    assert cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    code = """
from yolo_ema.cli import main
assert main(sys.argv[1:]) == 0
needless = ("av", "tqdm", "ssl", "http", "multiprocessing", "matplotlib", "scipy", "PIL.PdfParser")
print(*(name for name in needless if name in sys.modules))
"""
    words = ("detect", tmp_path / "a.png", "--weights", onnx_file, "--out", tmp_path / "boxes")
    done = run(code, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
    assert {path.name for path in (tmp_path / "boxes").iterdir()} == {"a.png", "detections.jsonl"}


def test_openvino_is_imported_without_its_converter_which_works_when_called(onnx_file):
    pytest.importorskip("openvino")
    code = """
from yolo_ema.inference.openvino_backend import import_openvino
openvino = import_openvino()
print("openvino.tools.ovc" in sys.modules)
print(len(openvino.convert_model(sys.argv[1]).inputs))
"""
    done = run(code, onnx_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "1"]
