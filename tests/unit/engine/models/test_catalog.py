"""The list of models: sizes against built models and against the figures that Ultralytics
states.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ultralytics.utils import ROOT

from yolo_ema.engine.models.catalog import describe, list_models
from yolo_ema.engine.models.definition import shipped_models
from yolo_ema.engine.models.registration import build_model
from yolo_ema.errors import ModelError
from yolo_ema.options.models import ModelsOptions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("name", "stated_in"),
    [
        ("yolov8n", "v8/yolov8.yaml"),
        ("yolo11m", "11/yolo11.yaml"),
        ("yolo26n", "26/yolo26.yaml"),
        ("yolo26s-p2", "26/yolo26-p2.yaml"),
    ],
)
def test_counts_are_those_that_ultralytics_states(name, stated_in):
    text = (Path(ROOT) / "cfg" / "models" / stated_in).read_text()
    scale = re.search(r"\d([nslmx])", name)[1]
    stated = re.search(
        rf"^  {scale}: .* ([\d,]+) parameters, .* ([\d.]+) GFLOP", text, re.MULTILINE
    )
    found = describe(name)
    assert found.parameters == int(stated[1].replace(",", ""))
    assert found.gflops == pytest.approx(float(stated[2]), rel=0.03)  # theirs count batch norms too


@pytest.mark.parametrize("name", ["yolo11n-ema", "yolo26n-ema-p2"])
def test_an_entry_agrees_with_the_built_model(name):
    found, model = describe(name), build_model(name)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert list(found.strides) == model.stride.tolist()
    assert found.ema_blocks == (6 if name.endswith("-p2") else 5)
    assert found.pretrained == f"{name.split('-')[0]}.pt"


def test_an_ema_block_costs_something():
    plain, ours = describe("yolov8n"), describe("yolov8n-ema")
    assert ours.parameters != plain.parameters
    assert 0 < ours.gflops < 1.2 * plain.gflops


def _names(*patterns: str) -> list[str]:
    return [entry.name for entry in list_models(ModelsOptions(names=patterns)).models]


def test_which_models_are_listed(monkeypatch):
    monkeypatch.setattr(
        "yolo_ema.engine.models.catalog.describe", lambda name: type("Entry", (), {"name": name})
    )
    assert len(_names()) == len(set(_names())) == 5 * len(shipped_models()) == 40
    assert _names()[:2] == ["yolov5n-ema", "yolov5s-ema"]
    assert _names("yolo11-ema") == [f"yolo11{scale}-ema" for scale in "nsmlx"]
    assert _names("yolo26s") == ["yolo26s-ema", "yolo26s-ema-p2"]
    assert _names("yolo[12]?n-ema") == ["yolo11n-ema", "yolo26n-ema"]
    assert _names("yolo26s-ema-p2", "yolov8n-ema") == ["yolov8n-ema", "yolo26s-ema-p2"]
    with pytest.raises(
        ModelError, match="no shipped model matches 'yolo11s-emma'; did you mean 'yolo11s-ema'"
    ):
        _names("yolo11s-emma")


@pytest.mark.slow
def test_the_command(yolo_ema_command):
    done = yolo_ema_command("models", "yolo11n", "--json")
    assert (done.code, done.json["imgsz"]) == (0, 640)
    first, second = done.json["models"]
    assert (first["name"], first["strides"], second["name"], second["strides"]) == (
        "yolo11n-ema",
        [8, 16, 32],
        "yolo11n-ema-p2",
        [4, 8, 16, 32],
    )
    table = list_models(ModelsOptions(names=("yolo11n",))).as_text().splitlines()
    assert table[0].split() == [
        "model",
        "starts",
        "from",
        "parameters",
        "GFLOPs@640",
        "attention",
        "blocks",
        "strides",
    ]
    assert table[1].split()[:3] == ["yolo11n-ema", "yolo11n.pt", f"{first['parameters']:,}"]
    assert len(table) == 3
