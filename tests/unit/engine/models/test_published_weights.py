"""Which published weights a model starts from."""

from __future__ import annotations

import pytest

from yolo_ema.engine.models.published_weights import default_pretrained, published_weights
from yolo_ema.errors import ModelError


def test_only_families_with_a_known_licence_are_offered():
    names = published_weights()
    assert {"yolo11n.pt", "yolov8x.pt", "yolo26m.pt", "yolov5lu.pt"} <= set(names)
    assert not [
        name
        for name in names
        if name.startswith(("sam", "yolov9", "yolo_nas", "yoloe", "rtdetr", "Fast"))
    ]


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("yolo11s-ema", "yolo11s.pt"),
        ("yolo26m-ema-p2", "yolo26m.pt"),
        ("yolov8x", "yolov8x.pt"),
        ("yolov5s-ema", "yolov5su.pt"),
        ("yolov5l-ema-p2", "yolov5lu.pt"),
        ("yolo11-ema", "yolo11n.pt"),
    ],
)
def test_each_model_has_weights_to_start_from(model, weights):
    assert default_pretrained(model) == weights
    assert weights in published_weights()


def test_a_custom_model(tmp_path):
    for name, weights in (("net.yaml", None), ("yolo11-wide.yaml", "yolo11n.pt")):
        (tmp_path / name).write_text("scales: {n: [1, 1, 9]}\n")
        assert default_pretrained(tmp_path / name) == weights
    with pytest.raises(ModelError, match="did you mean"):
        default_pretrained("yolo11s-emma")
