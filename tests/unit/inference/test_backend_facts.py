"""What a runtime says of itself, for files of each kind."""

from __future__ import annotations

import pytest
from lively_weights import save, tiny_model

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.options.export import ExportOptions


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    model = tiny_model(2)
    model.args = {}
    return save(model, tmp_path_factory.mktemp("facts") / "tiny.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantize", "stored", "computed"),
    [
        ("onnx", None, "fp32", {"fp32"}),
        ("onnx", "fp16", "fp16", {"fp16"}),
        ("openvino", None, "fp32", {"fp32"}),
        ("openvino", "fp16", "fp16", {"fp32"}),
        ("ncnn", None, "fp32", {"fp32", "fp16"}),
        ("torchscript", None, "fp32", {"fp32"}),
    ],
)
def test_files(name, quantize, stored, computed, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    options = ExportOptions(
        weights=weights,
        format=(name,),
        quantize=quantize,
        imgsz=(64,),
        data="unused" if quantize else None,
    )
    made = export_artifact(name, options, load_model(weights), tmp_path)
    backend = open_predictor(made.path, device="cpu", precision="f32", trust=True).backend
    assert backend.stored == stored
    assert backend.computed in computed
    assert backend.threads == 1


def test_weights(weights, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    backend = open_predictor(weights, device="cpu").backend
    assert (backend.stored, backend.computed, backend.threads) == ("fp32", "fp32", 1)
