"""What the tests of the gate share: small weights that find many boxes, a good file of theirs, and
images.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.options.export import ExportOptions

SIZE_HW = (192, 320)


@pytest.fixture(scope="session")
def gate_weights(tmp_path_factory) -> Path:
    return save(lively_model("tiny"), tmp_path_factory.mktemp("gate") / "tiny.pt")


@pytest.fixture(scope="session")
def gate_pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gate-pictures")
    for seed in range(20):
        cv2.imwrite(str(folder / f"{seed:02}.png"), picture(seed))
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return a function that exports weights in one format and returns the file."""

    def make(weights: Path, name: str = "onnx", **options: object) -> Path:
        settings = {
            "imgsz": SIZE_HW,
            "settings": {"simplify": "false"} if name == "onnx" else {},
            **options,
        }
        chosen = ExportOptions(weights=weights, format=(name,), **settings)
        return export_artifact(
            name, chosen, load_model(weights), tmp_path_factory.mktemp(f"made-{name}")
        ).path

    return make


@pytest.fixture(scope="session")
def good(made, gate_weights) -> Path:
    """A good ONNX file of a fixed size."""
    return made(gate_weights)
