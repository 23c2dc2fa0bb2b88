"""What stands beside every figure: how the images went through the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_onnx import ENTRIES, write_onnx

from yolo_ema.evaluate.protocol_facts import protocol_facts, weights_facts
from yolo_ema.evaluate.val_result import Evidence, ValResult
from yolo_ema.evaluate.validation import open_for_scoring
from yolo_ema.inference.onnx_backend import OnnxBackend
from yolo_ema.metrics.scorecard import make_scorecard
from yolo_ema.options.val import ValOptions
from yolo_ema.tiling.plan_figures import PlanFigures, PlanRow

ALONE = PlanFigures(
    (PlanRow(1, False, True, 5, 1, 3, 0.3), PlanRow(1, True, False, 20, 4, 1, 0.2)), 0.7
)


def scored(weights: Path, **options: object) -> ValResult:
    """Return the result of one image without objects."""
    opts = ValOptions(weights=weights, device="cpu", **options)
    predictor, size = open_for_scoring(opts), (300, 200)
    none = np.empty((0, 6))
    about = protocol_facts(predictor, opts, Path("data.yaml"), {}, [size])
    card = make_scorecard({"a": none}, {"a": none}, {"a": size}, class_names=("one",), about=about)
    facts = weights_facts(predictor, ("one",), {0: 0})
    seconds = dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0)
    evidence = Evidence(("one",), {}, {"a": size}, {"a": none}, {"a": none})
    return ValResult(card, facts, seconds, (), evidence)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "alone.onnx", ENTRIES | ALONE.as_entries())


def test_tiles_alone_that_the_weights_recommend_are_named_so(weights: Path) -> None:
    tiles = scored(weights, tile="auto").scorecard.protocol["tiles"]
    assert tiles["images_in_tiles"] == 1
    assert tiles["whole_frame"] is False
    assert scored(weights, tile="96x64").scorecard.protocol["tiles"]["whole_frame"] is True
    assert "tiles auto without the whole frame" in scored(weights, tile="auto").as_text()


def test_augmented_figures_say_so(weights: Path) -> None:
    text = scored(weights, augment=True, tile="off").as_text()
    assert "\nwhole images, each also augmented\n" in text
    text = scored(weights, augment=True, tile="auto").as_text()
    assert "1 images in tiles, each also augmented\n" in text
    assert "augmented" not in scored(weights, tile="auto").as_text()


def test_the_precision_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = scored(weights)
    assert plain.weights["precision"] == "fp32"
    monkeypatch.setattr(OnnxBackend, "_told_precision", lambda self: "bf16")
    assert scored(weights).weights["precision"] == "fp32 in bf16"
    assert "(height x width), fp32 in bf16; per image" in scored(weights).as_text()
