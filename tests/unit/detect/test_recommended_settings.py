"""What weights recommend holds where the user says nothing else, and the run says what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_onnx import ENTRIES, write_onnx

from yolo_ema.detect.detector import Detector
from yolo_ema.detect.run import detect
from yolo_ema.inference.onnx_backend import OnnxBackend
from yolo_ema.options.detect import DetectOptions
from yolo_ema.tiling.plan_figures import PlanFigures, PlanRow

FIGURES = PlanFigures(
    (
        PlanRow(1, False, True, 10, 0.25, 3, 0.14),
        PlanRow(2, False, True, 22, 1, 1, 0.16),
        PlanRow(1, True, True, 22.5, 2, 1, 0.2),
    ),
    0.6,
)


def weights_of(folder: Path) -> Path:
    """Return a file that takes images of 96x64 pixels."""
    return write_onnx(folder / "fixed.onnx", ENTRIES | FIGURES.as_entries())


def run(weights: Path, folder: Path, **options: Any) -> dict[str, Any]:
    cv2.imwrite(str(folder / "image.png"), np.full((80, 120, 3), 99, np.uint8))
    asked = {"weights": weights, "device": "cpu", "save": ("none",)} | options
    return detect(DetectOptions(source=(str(folder / "image.png"),), **asked)).as_json()


def test_a_threshold_is_the_users_then_the_weights_then_ours(tmp_path: Path) -> None:
    own = weights_of(tmp_path)
    assert run(own, tmp_path)["iou"] == 0.6
    given = run(own, tmp_path, conf=0.5, iou=0.4)
    assert (given["conf"], given["iou"]) == (0.5, 0.4)
    assert run(own, tmp_path, conf=0.0)["conf"] == 0.0
    plain = run(write_onnx(tmp_path / "plain.onnx"), tmp_path)
    assert (plain["conf"], plain["iou"]) == (0.25, 0.7)


def test_a_file_of_fixed_size_takes_the_threshold_of_the_best_plan_that_it_can_run(
    tmp_path: Path,
) -> None:
    own = weights_of(tmp_path)
    fixed = Detector(own, device="cpu")
    assert fixed.predictor.plan_figures.best.conf == 0.16
    assert ", the only size that the file takes; the figures" in fixed.plan((300, 200))
    assert fixed.conf == 0.2
    asked = Detector(own, device="cpu", imgsz=(64, 96), augment=True)
    assert (asked.conf, asked.plan((300, 200))) == (0.2, f"{fixed.plan((300, 200))}; also mirrored")
    asked.detections(np.zeros((200, 300, 3), np.uint8))  # at no other size


@pytest.mark.parametrize(
    ("conf", "asked"),
    [
        (0.16, {}),
        (0.14, {"tile": "off"}),
        (0.2, {"tile": "32x32"}),
        (0.2, {"imgsz": (64, 96)}),  # in tiles and whole
        (0.14, {"imgsz": (64, 96), "tile": "off"}),
        (0.16, {"imgsz": (128, 192), "tile": "off"}),
        (0.14, {"imgsz": 96, "tile": "off"}),  # the longer side decides
        (0.14, {"imgsz": (32, 96), "tile": "off"}),
        (0.2, {"imgsz": 96}),
        (0.16, {"whole_frame": False}),  # was not measured: as for the best plan
    ],
)
def test_the_threshold_is_that_of_the_best_plan_that_the_user_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conf: float, asked: dict[str, Any]
) -> None:
    monkeypatch.setattr(
        OnnxBackend, "_open", lambda self, opened=OnnxBackend._open: (opened(self), grow(self))
    )
    assert Detector(weights_of(tmp_path), device="cpu", **asked).conf == conf


def test_a_larger_input_is_known_by_its_side_as_rounded_to_the_stride(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OnnxBackend, "_open", lambda self, opened=OnnxBackend._open: (opened(self), grow(self))
    )
    rows = (PlanRow(1, False, True, 20, 0.2, 2, 0.14), PlanRow(1.5, False, True, 19, 0.4, 1, 0.17))
    entries = ENTRIES | {"imgsz": [416, 416]} | PlanFigures(rows, 0.6).as_entries()
    own = write_onnx(tmp_path / "own.onnx", entries, input_shape=(1, 3, 416, 416))
    conf = {
        size: Detector(own, device="cpu", imgsz=size, tile="off").conf
        for size in (416, 640, (416, 640), (384, 640), 608)
    }
    # 1.5 times 416 is 624, which runs as 640; what was not measured is as for the best plan
    assert conf == {416: 0.14, 640: 0.17, (416, 640): 0.17, (384, 640): 0.17, 608: 0.14}


def grow(backend: OnnxBackend) -> None:
    backend.dynamic = True


def test_another_precision_of_the_computation_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = weights_of(tmp_path)
    assert run(own, tmp_path)["precision"] == "fp32"
    assert "computed in" not in capsys.readouterr().err
    monkeypatch.setattr(OnnxBackend, "_told_precision", lambda self: "bf16")
    assert run(own, tmp_path)["precision"] == "fp32 in bf16"
    assert "fixed.onnx: fp32, computed in bf16" in capsys.readouterr().err
