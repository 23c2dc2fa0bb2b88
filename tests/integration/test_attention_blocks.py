"""Attention blocks in detectors: through safe loading, detection, export and its proof, and through
training from the weights of a model that has others.
"""

from __future__ import annotations

import cv2
import pytest
from lively_weights import lively_model, picture, save
from tiny_dataset import draw_dataset

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.nn import BLOCKS
from yolo_ema.nn.attention.catalog import ATTENTIONS

RIVALS = [name for name in BLOCKS if name != "EMA"]


@pytest.mark.slow
@pytest.mark.parametrize("block", RIVALS)
def test_weights_load_safely_detect_and_pass_verification(block, tmp_path, yolo_ema_command):
    model = lively_model("tiny", block=block)
    weights = save(model, tmp_path / "tiny.pt")
    loaded = load_model(weights).model
    assert type(loaded.model[3]) is BLOCKS[block]
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), picture(0))
    done = yolo_ema_command("detect", image, "--weights", weights, "--imgsz", "192,320", "--json")
    assert done.code == 0, done.err
    dynamic = ["--dynamic"] if RIVALS.index(block) % 2 else []
    file = tmp_path / "tiny.onnx"
    done = yolo_ema_command(
        *("export", "--weights", weights, "--format", "onnx", "--imgsz", "192,320"),
        *("--out", file, *dynamic),
    )
    assert done.code == 0, done.err
    assert file.is_file()


@pytest.mark.slow
def test_a_rival_is_trained_by_its_name_from_weights_with_ema(tmp_path, yolo_ema_command):
    data = draw_dataset(tmp_path / "tiny", train=2, val=1)
    start = save(build_model("yolo11n-ema", 2), tmp_path / "ema.pt")
    done = yolo_ema_command(
        *("train", "--data", data, "--model", "yolo11n-cbam", "--pretrained", start),
        *("--imgsz", 64, "--epochs", 1, "--batch", 2, "--workers", 0, "--device", "cpu"),
        *("--project", tmp_path / "runs", "--name", "cbam"),
    )
    assert done.code == 0, done.err
    loaded = load_model(tmp_path / "runs" / "cbam" / "weights" / "best.pt")
    kinds = [type(layer).__name__ for layer in loaded.model.model]
    assert (kinds.count("CBAM"), kinds.count("EfficientMultiScaleAttention")) == (5, 0)


@pytest.mark.parametrize("name", ["yolo11n-attention", "yolo11n-cbma", "yolo11n-ema-no-4x4"])
def test_an_unknown_block_in_a_models_name(name, yolo_ema_command):
    done = yolo_ema_command("models", name)
    assert done.code == 2
    assert "no shipped model matches" in done.err


def test_models_next_to_their_rivals(yolo_ema_command):
    done = yolo_ema_command("models", "yolo11n-ema", "--attention", "none,eca", "--json")
    assert done.code == 0, done.err
    listed = [entry for entry in done.json["models"] if not entry["name"].endswith("-p2")]
    assert [(entry["name"], entry["attention"], entry["attention_blocks"]) for entry in listed] == [
        ("yolo11n", None, 0),
        ("yolo11n-ema", "EMA", 5),
        ("yolo11n-none", None, 0),
        ("yolo11n-eca", "ECA", 5),
    ]
    wrong = yolo_ema_command("models", "yolo11n-ema", "--attention", "cbma")
    assert wrong.code == 2
    assert "did you mean 'cbam'" in wrong.err
    assert set(ATTENTIONS) >= {"se", "cbam", "bam", "eca", "ca", "sa", "nam", "triplet", "gam"}
