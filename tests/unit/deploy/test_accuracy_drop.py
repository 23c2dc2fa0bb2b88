"""fp16 and int8 are judged by what they lose of the official figures."""

from __future__ import annotations

import faulty_files as faults
import pytest
from lively_weights import lively_model, save

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.deploy.parity import gate
from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.parity_report import (
    FAILED,
    NOT_PROVEN,
    PASSED,
    AccuracyDrop,
    GateLimits,
)
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.scenes.dataset import write_dataset


@pytest.fixture
def half(good, tmp_path):
    """A file that says that it is fp16, and drifts as such files do."""

    def make(factor: float = 1.01):
        def surgery(model) -> None:
            faults.scaled_convolution(8, factor)(model)
            faults.metadata(precision="fp16")(model)

        return faults.spoilt(good, tmp_path / "half.onnx", surgery)

    return make


@pytest.fixture
def loses(monkeypatch):
    """Return a function after which the measurement gives these figures."""

    def fake(ap: tuple[float, float], ap50: tuple[float, float]) -> None:
        monkeypatch.setattr(
            gate, "measure_accuracy_drop", lambda _pair, data: AccuracyDrop(data, 97, ap, ap50)
        )

    return fake


@pytest.mark.parametrize(
    ("ap", "ap50", "limits", "status", "says"),
    [
        ((20.0, 19.5), (35.0, 34.0), GateLimits(), PASSED, ""),
        (
            (20.0, 18.5),
            (35.0, 34.0),
            GateLimits(),
            FAILED,
            "fp16 loses 1.50 points of official AP on 97 images of set",
        ),
        pytest.param(
            (20.0, 19.5),
            (35.0, 32.5),
            GateLimits(),
            FAILED,
            "fp16 loses 2.50 points of official AP50 on 97 images of set",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (20.0, 18.5), (35.0, 34.0), GateLimits(ap_loss=2.0), PASSED, "", marks=pytest.mark.slow
        ),
        pytest.param(
            (0.8, 0.8),
            (35.0, 34.0),
            GateLimits(),
            NOT_PROVEN,
            "any file would pass",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_drop_is_checked_against_the_limits(
    half, loses, gate_weights, gate_pictures, ap, ap50, limits, status, says
):
    loses(ap, ap50)
    report = prove(
        half(), gate_weights, load_model(gate_weights), limits, images=[gate_pictures], data="set"
    )
    assert report.status == status, report.reasons
    assert says in " ".join(report.reasons)
    assert report.cases[0].box_px > 0, (
        "boxes are compared and shown, and not held to a float file's tolerance"
    )
    found = report.as_json()["loss"]
    assert found["loss"] == {"AP": ap[0] - ap[1], "AP50": ap50[0] - ap50[1]}
    assert f"loss {ap[0] - ap[1]:+.2f}" in report.as_text()


def test_without_data_nothing_is_proven(half, gate_weights, gate_pictures):
    report = prove(half(1.0), gate_weights, load_model(gate_weights), images=[gate_pictures])
    assert report.status == NOT_PROVEN
    assert "name one with --data" in report.reasons[0]


@pytest.mark.slow
def test_on_a_dataset_both_see_the_same_images(made, gate_pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the prepared dataset goes there
    model = lively_model("tiny")
    model.names = dict(enumerate(VISDRONE_CLASSES))
    weights = save(model, tmp_path / "named.pt")
    file = faults.spoilt(made(weights), tmp_path / "half.onnx", faults.metadata(precision="fp16"))
    data = write_dataset(tmp_path / "drawn", train=0, val=3, image_wh=(320, 192))
    report = prove(file, weights, load_model(weights), images=[gate_pictures], data=str(data))
    assert report.accuracy_drop is not None
    assert report.accuracy_drop.images == 3
    assert report.accuracy_drop.ap[0] == report.accuracy_drop.ap[1]
    assert report.status == NOT_PROVEN, "weights that never learned lose nothing"
