"""What the tests of the command line share: weights whose way through it can be followed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from yolo_ema.engine.registration import build_model
from yolo_ema.visdrone.annotations import CLASS_NAMES


def save_random_weights(path: Path, *, class_bias: float | None = None) -> Path:
    """Write a checkpoint of random weights, for inputs of 96 pixels, whose class scores lie high enough to be reported.

    Args:
        path: where to.
        class_bias: the logit around which the class scores lie; without it the model's own, which is low.
    """
    torch.manual_seed(0)
    model = build_model("yolo11n-ema", class_count=10)
    model.names = dict(enumerate(CLASS_NAMES))
    for branch in model.model[-1].cv3:
        torch.nn.init.normal_(branch[-1].weight, std=0.5)
        if class_bias is not None:
            torch.nn.init.constant_(branch[-1].bias, class_bias)
    torch.save({"model": model.half(), "train_args": {"imgsz": 96}}, path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with weak scores."""
    return save_random_weights(tmp_path_factory.mktemp("weights") / "random.pt")


@pytest.fixture(scope="session")
def sure_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights whose scores are high enough for identities."""
    return save_random_weights(tmp_path_factory.mktemp("weights") / "sure.pt", class_bias=1.0)
