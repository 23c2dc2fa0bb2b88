"""Model YAMLs before anything is built from them: what is refused, and where the message points."""

from __future__ import annotations

import copy
import math
import os
import re
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv

from yolo_ema.engine.models.blueprint import checked_definition, draw, probe, read_definition
from yolo_ema.engine.models.definition import shipped_models
from yolo_ema.engine.models.registration import build_model, model_yaml, register
from yolo_ema.errors import ModelError

pytestmark = pytest.mark.usefixtures("one_thread")

ULTRALYTICS_MODELS = Path(ultralytics.__file__).parent / "cfg" / "models"
TINY = {
    "nc": 2,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "EMA", ["c2", 8]],
    ],
    "head": [[-1, 1, "Conv", [32, 3, 2]], [[2, 3], 1, "Detect", ["nc"]]],
}


def _with(row: int, value: object, **keys: object) -> dict:
    """Return the tiny definition with one row or some keys replaced."""
    content = copy.deepcopy(TINY) | keys
    if value is not None:
        content["backbone"][row] = value
    return content


def _built(content: object) -> tuple[int, ...]:
    register()
    definition = checked_definition(content, "own.yaml")
    layers, _ = draw(definition, "own.yaml")
    return probe(layers, "own.yaml")


def _detection_models() -> list[Path]:
    paths = [*shipped_models().values(), *sorted(ULTRALYTICS_MODELS.rglob("*.yaml"))]
    return [path for path in paths if re.search(r"\b(v10)?Detect, \[nc", path.read_text())]


@pytest.mark.parametrize("path", _detection_models(), ids=lambda path: path.stem)
def test_every_detection_model_can_be_drawn_at_the_strides_that_ultralytics_finds(path):
    register()
    content, places = read_definition(path)
    definition = checked_definition(content, str(path), places)
    with torch.device("meta"):
        before = torch.zeros(1).device
    layers, save = draw(definition, str(path), places)
    strides = probe(layers, str(path), places)
    assert {parameter.device for parameter in layers.parameters()} == {before}
    assert len(layers) == len(places)
    assert len(strides) == layers[-1].nl
    assert all(math.log2(stride).is_integer() for stride in strides)
    assert set(save) <= set(range(len(layers)))


def test_strides_are_those_of_the_built_model():
    for name in ("yolo11n-ema-p2", "yolov8n"):
        content, places = read_definition(model_yaml(name))
        layers, _ = draw(checked_definition(content | {"scale": "n"}, name), name, places)
        assert list(probe(layers, name)) == build_model(name).stride.tolist()


@pytest.mark.parametrize(("number", "means"), [("2", 2), (2.0, 2), (3, 3)])
def test_nc_is_interpreted_as_ultralytics_does(number, means):
    assert checked_definition(_with(0, None, nc=number), "own.yaml")["nc"] == means


EVIL = "__import__('os').environ.__setitem__('YOLO_EMA_TEST_CODE_RAN', '1')"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_with(0, None, nc=100_000_000), "nc is 100000000; expected a whole number from 1 to"),
        (_with(0, None, nc=math.nan), "nc is nan"),
        (_with(0, None, nc=True), "nc is True"),
        (_with(0, None, nc="many"), "nc is 'many'"),
        (_with(0, None, nc=[2]), "nc is list"),
        (_with(0, None, channels=10**6), "channels is 1000000"),
        (_with(0, None, activation=EVIL), "the activation is .*expected one of torch's"),
        (_with(0, None, activation=f"nn.SiLU({EVIL})"), "the activation is"),
        (_with(0, None, activation="nn.modules.os.system('true')"), "the activation is"),
        (_with(0, None, activation="nn.SiLU(*[1])"), "the activation is"),
        (_with(0, None, activation="nn.LSTM(1, 1)"), "the activation is"),
        (_with(0, None, activation=7), "the activation is 7"),
        (_with(0, [-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2]]), "downloads"),
        (_with(0, [-1, 1, "torch.hub.load", ["a/b", "c"]]), "unknown block 'torch.hub.load'"),
        (_with(0, [-1, 1, "check_requirements", ["numpy"]]), "unknown block 'check_requirements'"),
        (_with(0, [-1, 1, "DetectionModel", [3]]), "unknown block 'DetectionModel'"),
        (_with(0, [-1, 1, "nn.LSTM", [16, 16, 2**31]]), "unknown block 'nn.LSTM'"),
        (_with(0, [-1, 1, "nn.modules", [16]]), "unknown block 'nn.modules'"),
        (_with(0, [-1, 1, "torchvision.ops.boxes", []]), "unknown block 'torchvision.ops.boxes'"),
        (_with(0, [-1, 1, "Conv", [2**31, 3, 2]]), "the arguments of Conv are .2147483648, 3, 2."),
        (_with(0, [-1, 1, "Conv", [16, 3, 2, EVIL]]), "the arguments of Conv"),
        (_with(0, [-1, 1, "Conv", ["ast", 3]]), "the arguments of Conv"),
        (_with(0, [-1, 1, "Conv", [[[[16]]]]]), "the arguments of Conv"),
        (_with(0, [-1, 1, "Conv", [16, 3, {"k": 1}]]), "the arguments of Conv"),
        (_with(0, [-1, 10**9, "Conv", [16, 3, 2]]), "1000000000 repeats"),
        (_with(0, [-1, 1, "C2f", [32, True, 65_000]]), "cannot build block C2f"),
        (_with(1, [-1, 1, "RepNCSPELAN4", [64, 64, 32, 60_000]]), "more than 10,000 parts"),
        (_with(1, [-1, 1, "nn.Upsample", ["None", 60_000, "nearest"]]), "a map of .* values"),
        (_with(1, [-1, 1, "nn.ZeroPad2d", [60_000]]), "a map of .* values"),
        (_with(0, [-1, 1, "Conv", [65_536, 63, 1]]), "more than 2,000,000,000 parameters|a map of"),
        (
            _with(2, [-1, 1, "EMA", []]),
            r"row 2: EMA has no arguments.*\[c2\]",
        ),
        (_with(2, [-1, 1, "EMA", [8]]), r"layer 2.*\(B, 8, H, W\).*write \[c2\]"),
        (_with(2, [-1, 1, "EMA", [512]]), r"layer 2.*\(B, 512, H, W\).*write \[c2\]"),
        (_with(0, None, scales={"n": [0.5, 1e9, 64]}), "scale n is wrong"),
        (_with(0, None, scales={"n": [0.5, 0.5, 64]}, scale="q"), "has no scale 'q'; it has n"),
        (_with(0, None, scales=[1, 2]), "its scales are a list"),
        (_with(0, None, depth_multiple="x"), "depth_multiple is wrong"),
        (_with(0, None, backbone=[[-1, 1, "nn.Identity", []]] * 600), "603|602 layers"),
        (_with(0, None, head=None), "no 'backbone' or no 'head'"),
        ([1, 2], "is a list"),
    ],
)
def test_descriptions_beyond_any_detector_are_refused_quickly_in_little_memory(
    content, message, monkeypatch
):
    monkeypatch.delenv("YOLO_EMA_TEST_CODE_RAN", raising=False)
    activation = Conv.default_act
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(ModelError, match=message):
            _built(content)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 60
    assert "YOLO_EMA_TEST_CODE_RAN" not in os.environ
    assert Conv.default_act is activation


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("nn.SiLU()", nn.SiLU),
        ("torch.nn.LeakyReLU(0.1, inplace=True)", nn.LeakyReLU),
        ("nn.ReLU6()", nn.ReLU6),
    ],
)
def test_activations_of_torch_are_built(written, means):
    definition = checked_definition(_with(0, None, activation=written), "own.yaml")
    layers, _ = draw(definition, "own.yaml")
    assert type(layers[0].act) is means


def test_the_definition_shares_nothing_with_what_it_was_read_from():
    content = copy.deepcopy(TINY)
    definition = checked_definition(content, "own.yaml")
    definition["backbone"][0][3][0] = 99
    assert content == TINY


def test_unknown_keys_are_dropped():
    definition = checked_definition(_with(0, None, evil=EVIL, kpt_shape=[1, 2]), "own.yaml")
    assert set(definition) == {"nc", "channels", "backbone", "head"}


class _Measured(nn.Module):
    """A user's own block, which needs real numbers when it is made."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rates = torch.linspace(0, 1, channels).tolist()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.rates[-1]


def test_a_block_that_the_users_program_registered_is_left_to_ultralytics(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "Measured", _Measured, raising=False)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(_with(2, [-1, 1, "Measured", ["c2"]])))
    assert isinstance(build_model(path, 2).model[2], _Measured)
    with pytest.raises(ModelError, match="unknown block 'Measured'"):
        checked_definition(_with(2, [-1, 1, "Measured", ["c2"]]), "weights.pt")


def test_aliases_and_deep_nesting_are_refused(tmp_path):
    path = tmp_path / "own.yaml"
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for level in "bcdefgh":
        before = chr(ord(level) - 1)
        laughs += f"{level}: &{level} [{', '.join([f'*{before}'] * 10)}]\n"
    for text in (laughs + "backbone: *h\n", "backbone: " + "[" * 5000):
        path.write_text(text)
        with pytest.raises(ModelError, match=r"own\.yaml .*(aliases|nested|not valid)"):
            model_yaml(path)


def test_models_drawn_by_several_threads_do_not_mix():
    plain, other = _with(0, None), _with(0, None, activation="nn.ReLU()")
    wrong: list[object] = []

    def work(content: dict, means: type) -> None:
        definition = checked_definition(content, "own.yaml")
        for _ in range(10):
            layers, _ = draw(definition, "own.yaml")
            wrong.extend(layer for layer in layers[:2] if type(layer.act) is not means)

    threads = [
        threading.Thread(target=work, args=one) for one in ((plain, nn.SiLU), (other, nn.ReLU)) * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
