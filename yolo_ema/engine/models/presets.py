"""Three places to start from, and what each costs.

The costs are reckoned from the models themselves, without training: operations of a forward pass,
and the tensors that it keeps for the backward pass. They are estimates: what a run really needs,
its log shows.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn.tasks import yaml_model_load

from yolo_ema.engine.models.blueprint import draw, inputs_of, probe, run_layers
from yolo_ema.engine.models.registration import model_yaml

_SHARE_OF_MEMORY = 0.7
"""What the kept tensors may take of a GPU; the rest is for the loss, the optimizer and cuDNN."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """Where to start from.

    Attributes:
        name: fast, balanced or accurate.
        model: the model's name; one that ends in p2 has the P2 level, for objects of a few pixels.
        imgsz: side of the square network input in pixels.
        epochs: passes over the training images.
        batch: images a step on one GPU, where its memory allows.
    """

    name: str
    model: str
    imgsz: int
    epochs: int
    batch: int


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("fast", "yolo11n-ema", 640, 100, 16),
        Preset("balanced", "yolo11s-ema", 960, 100, 16),
        Preset("accurate", "yolo11m-ema-p2", 1280, 150, 8),
    )
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one training image costs.

    Attributes:
        gflops: operations of the forward pass in 1e9, an addition and a multiplication counting
            two; the backward pass takes about twice as many.
        kept_gb: what the forward pass keeps for the backward pass in 1e9 bytes, in float32; about
            half of it in half precision.
    """

    gflops: float
    kept_gb: float


def training_cost(model: str | Path | dict[str, Any], imgsz: int) -> Cost:
    """Reckon what a training image costs, on torch's meta device: no weights, no arithmetic.

    Args:
        model: a name, a path or a model YAML's content, as Ultralytics parses it.
        imgsz: side of the square input in pixels; the next multiple of the largest stride counts,
            as training rounds it.
    """
    definition = model if isinstance(model, dict) else yaml_model_load(model_yaml(model))
    layers, _ = draw(definition, "the model")
    stride = max(probe(layers, "the model"))
    side = math.ceil(imgsz / stride) * stride
    layers.train()
    kept: dict[
        int, int
    ] = {}  # storage → bytes: one that several operations keep lies in memory once
    alive = []  # a storage's number is its own only as long as it lives

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        kept[_number(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.device("meta"),
        FlopCounterMode(display=False) as counter,
        saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        head = layers[-1]
        head(inputs_of(head, run_layers(layers[:-1], torch.zeros(1, 3, side, side))))
    for parameter in layers.parameters():
        kept.pop(_number(parameter), None)
    return Cost(gflops=counter.get_total_flops() / 1e9, kept_gb=sum(kept.values()) / 1e9)


def _number(tensor: torch.Tensor) -> int:
    return StorageWeakRef(tensor.untyped_storage()).cdata


def fitting_batch(wanted: int, cost: Cost, memory_gb: float) -> int:
    """Return the largest of ``wanted``, its half, its quarter … that a GPU of ``memory_gb`` holds
    in half precision; at least 1.
    """
    batch = wanted
    while batch > 1 and batch * cost.kept_gb / 2 > _SHARE_OF_MEMORY * memory_gb:
        batch //= 2
    return batch
