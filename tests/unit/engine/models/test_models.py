"""Every shipped model at every scale: what it is made of, that it runs, and that gradients reach
each EMA block.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import yaml_model_load

from yolo_ema.engine.models.blueprint import draw, inputs_of, run_layers
from yolo_ema.engine.models.definition import paper_models, scaled_names, shipped_models
from yolo_ema.engine.models.registration import build_model, model_yaml
from yolo_ema.nn import EfficientMultiScaleAttention

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = [name for stem, path in shipped_models().items() for name in scaled_names(stem, path)]
BLOCKS = (EfficientMultiScaleAttention,)


def _sources(layer: nn.Module) -> list[int]:
    """The layers that this one reads, by their index."""
    sources = [layer.f] if isinstance(layer.f, int) else layer.f
    return [layer.i + source if source < 0 else source for source in sources]


def _check_placement(layers: nn.Sequential) -> None:
    """EMA ends the last two backbone stages and every level of the head, and whoever reads those
    levels reads EMA.
    """
    blocks = [layer.i for layer in layers if isinstance(layer, BLOCKS)]
    head = layers[-1]
    spatial_pooling = next(layer.i for layer in layers if type(layer).__name__ == "SPPF")
    in_backbone = [index for index in blocks if index < spatial_pooling]
    assert len(in_backbone) == 2
    assert in_backbone[1] == spatial_pooling - 1
    assert all(type(layers[index + 1]).__name__ in {"Conv", "SPPF"} for index in in_backbone), (
        "each ends its stage"
    )
    assert [index for index in blocks if index > spatial_pooling] == list(head.f)
    for reader in layers[1:]:
        for source in _sources(reader):
            assert not (source + 1 in blocks and reader.i != source + 1), (
                f"layer {reader.i} reads {source}, before its EMA"
            )


def _check_shapes(
    layers: nn.Sequential, image: torch.Tensor, strides: list[int]
) -> list[torch.Tensor]:
    """Each block's channels are those of its input, and levels stand at their strides. Returns all
    outputs.
    """
    outputs = run_layers(layers[:-1], image)
    for layer in layers:
        if isinstance(layer, BLOCKS):
            (source,) = _sources(layer)
            assert layer.groups * layer.gn.num_channels == outputs[source].shape[1]
            assert outputs[layer.i].shape == outputs[source].shape
    assert [image.shape[-1] // outputs[level].shape[-1] for level in layers[-1].f] == strides
    in_backbone = [layer.i for layer in layers[:12] if isinstance(layer, BLOCKS)]
    assert [image.shape[-1] // outputs[index].shape[-1] for index in in_backbone] == [16, 32]
    return outputs


def _check_gradients(model: nn.Module, image: torch.Tensor) -> None:
    raw = model.train()(image)
    raw = raw.get("one2many", raw)
    assert raw["scores"].shape[1] == 10
    (raw["boxes"].square().mean() + raw["scores"].square().mean()).backward()
    for layer in model.model:
        if isinstance(layer, BLOCKS):
            for name, parameter in layer.named_parameters():
                assert parameter.grad is not None, f"layer {layer.i}, {name}"
                assert torch.isfinite(parameter.grad).all(), f"layer {layer.i}, {name}"
                assert parameter.grad.abs().sum() > 0, f"layer {layer.i}, {name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_builds_runs_and_learns(name):
    torch.manual_seed(0)
    model = build_model(name)
    strides = [4, 8, 16, 32] if name.endswith("-p2") else [8, 16, 32]
    assert model.stride.tolist() == strides
    _check_placement(model.model)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        outputs = _check_shapes(model.eval().model, image, strides)
        decoded, _ = model.model[-1](inputs_of(model.model[-1], outputs))
        assert torch.isfinite(decoded).all()
    _check_gradients(model, image)


@pytest.mark.parametrize("stem", shipped_models())
def test_headers_give_source_licence_and_difference(stem):
    header = shipped_models()[stem].read_text().split("\nnc:")[0]
    for needed in (
        "https://arxiv.org/abs/2305.13563",
        "AGPL-3.0",
        "Differs: from Ultralytics' ",
        f"as in {stem.replace('-ema', 's-ema')}",
    ):
        assert needed in header


@pytest.mark.parametrize("stem", shipped_models())
def test_the_numbers_in_the_comments_are_those_of_the_rows(stem):
    rows = [
        line for line in shipped_models()[stem].read_text().splitlines() if line.startswith("  - [")
    ]
    assert [int(line.split("] # ")[1].split()[0]) for line in rows] == list(range(len(rows)))


def _levels(layers: nn.Sequential) -> list[str]:
    return [type(layers[index]).__name__ for index in layers[-1].f]


def test_the_papers_detectors_are_wired_as_intended_and_as_published():
    ema, c3 = EfficientMultiScaleAttention.__name__, "C3"
    coco = build_model("yolov5s-paper-coco-ema", 80).model
    pooling = next(layer.i for layer in coco if type(layer).__name__ == "SPPF")
    assert [layer.i for layer in coco if isinstance(layer, BLOCKS)] == [pooling - 1]
    intended = build_model("yolov5n-paper-visdrone-ema")
    published = build_model("yolov5n-paper-visdrone-ema-published")
    for model in (intended, published):
        assert model.stride.tolist() == [4, 8, 16, 32]
        assert sum(isinstance(layer, BLOCKS) for layer in model.model) == 5
    assert _levels(intended.model) == [ema, ema, ema, c3]
    assert _levels(published.model) == [c3] * 4
    assert [index + 1 for index in published.model[-1].f[:3]] == intended.model[-1].f[:3]


def test_the_papers_blocks_have_the_parameters_that_their_code_has():
    added = [
        sum(parameter.numel() for parameter in layer.parameters())
        for stem in paper_models()
        if "visdrone" in stem
        for layer in draw_paper(stem)
        if isinstance(layer, BLOCKS)
    ]
    assert sum(added) == 2 * 10_510


def draw_paper(stem: str) -> nn.Sequential:
    name = stem.replace("yolov5", "yolov5x")
    return draw(yaml_model_load(model_yaml(name)), name)[0]
