"""Every shipped model family, plain and with P2, in every format that is run here: what it proposes
is what its weights propose.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.models.catalog import list_models
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import LoadedModel, load_model
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.models import ModelsOptions

for package in ("onnxruntime", "openvino", "ncnn", "pnnx"):
    pytest.importorskip(package)

FAMILIES = ("yolo11", "yolo26", "yolov5", "yolov8")
MODELS = [f"{family}n-ema{head}" for family in FAMILIES for head in ("", "-p2")]
HW = (64, 96)
PX, SCORE = 0.02, 2e-4


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory) -> tuple[Path, LoadedModel, np.ndarray]:
    """Weights, loaded once, and what they propose for an image."""
    weights = save(
        lively_model(request.param), tmp_path_factory.mktemp("weights") / f"{request.param}.pt"
    )
    runtime = open_predictor(weights, device="cpu", imgsz=HW, rectangular=False)
    return weights, load_model(weights), runtime.candidates(picture(3, (120, 80)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino", "torchscript", "ncnn"])
def test_file_proposes_what_its_weights_propose(model, name, tmp_path):
    weights, loaded, wanted = model
    made = export_artifact(name, ExportOptions(weights=weights, imgsz=HW), loaded, tmp_path)
    found = open_predictor(made.path, device="cpu", precision="f32", trust=True).candidates(
        picture(3, (120, 80))
    )
    assert found.shape == wanted.shape
    strong = wanted[:, 4:].max(axis=1) > 0.05
    assert strong.sum() > 30
    assert np.abs(found[strong, :4] - wanted[strong, :4]).max() < PX
    assert np.abs(found[:, 4:] - wanted[:, 4:]).max() < SCORE


@pytest.mark.slow
def test_these_are_all_shipped_families():
    shipped = {one["name"] for one in list_models(ModelsOptions()).as_json()["models"]}
    assert {name for name in shipped if "n-ema" in name} == set(MODELS)
