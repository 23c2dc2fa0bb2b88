"""The shipped models with size and cost, counted without arithmetic (torch's meta device)."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm
from ultralytics.nn.tasks import yaml_model_load

from yolo_ema.engine.models.blueprint import draw, inputs_of, run_layers
from yolo_ema.engine.models.definition import (
    model_names,
    paper_models,
    scaled_names,
    shipped_models,
)
from yolo_ema.engine.models.published_weights import default_pretrained
from yolo_ema.engine.models.registration import model_yaml
from yolo_ema.errors import ModelError, did_you_mean
from yolo_ema.nn import BLOCKS
from yolo_ema.nn.attention.catalog import ATTENTIONS, attention
from yolo_ema.options.models import ModelsOptions
from yolo_ema.text_table import text_table

IMAGE_PX = 640
"""Height and width, in pixels, for which GFLOPs are counted."""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """One model at one scale, for the number of classes that its YAML names.

    Attributes:
        name: its bare name.
        parameters: trainable and fixed numbers, as built for training (in yolo26 with both heads).
        gflops: operations of one forward pass of one 640×640 image as built for training, in 1e9;
            an addition and a multiplication count two, convolutions and matrix products are
            counted.
        strides: pixels of the input per cell, one for each level that the head reads.
        ema_blocks: number of EMA blocks.
        attention: the attention block in its model YAML, by its name there; None for none.
        attention_blocks: number of those.
        pretrained: the weights that training starts from.
    """

    name: str
    parameters: int
    gflops: float
    strides: tuple[int, ...]
    ema_blocks: int
    attention: str | None
    attention_blocks: int
    pretrained: str | None


@dataclasses.dataclass(frozen=True)
class ModelsResult:
    """What ``yolo-ema models`` prints."""

    models: tuple[ModelEntry, ...]

    def as_json(self) -> dict[str, object]:
        """Return the list for machines."""
        return {"imgsz": IMAGE_PX, "models": [dataclasses.asdict(entry) for entry in self.models]}

    def as_text(self) -> str:
        """Return the list as a table."""
        header = (
            "model",
            "starts from",
            "parameters",
            f"GFLOPs@{IMAGE_PX}",
            "attention blocks",
            "strides",
        )
        rows = [
            (
                entry.name,
                entry.pretrained or "-",
                f"{entry.parameters:,}",
                f"{entry.gflops:.1f}",
                f"{entry.attention_blocks} {entry.attention}" if entry.attention else "-",
                " ".join(map(str, entry.strides)),
            )
            for entry in self.models
        ]
        return "\n".join(text_table([header, *rows], left=2))


def list_models(options: ModelsOptions) -> ModelsResult:
    """List the shipped models at every scale.

    Raises:
        ModelError: a name matches none of them.
    """
    names = _with_attentions(_chosen(options.names), options.attention)
    return ModelsResult(
        tuple(
            describe(name)
            for name in tqdm(names, desc="models", unit="model", leave=False, disable=None)
        )
    )


def _chosen(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the scaled names that match: a model's name means all its scales, else a pattern or a
    part of the name.
    """
    models = shipped_models() | (paper_models() if patterns else {})
    families = {stem: scaled_names(stem, path) for stem, path in models.items()}
    names = tuple(name for scaled in families.values() for name in scaled)
    known = model_names() if patterns else ()
    chosen = [] if patterns else [*names]
    for pattern in patterns:
        matching = (
            families.get(pattern)
            or fnmatch.filter(names, pattern)
            or [name for name in names if pattern in name]
            or [name for name in known if name == pattern]
        )
        if not matching:
            raise ModelError(
                f"no shipped model matches {pattern!r}{did_you_mean(pattern, (*families, *known))}"
            )
        chosen += matching
    return (*(name for name in names if name in chosen), *(n for n in chosen if n not in names))


def _with_attentions(names: Sequence[str], blocks: Sequence[str]) -> tuple[str, ...]:
    """Return the names, before each its plain counterpart and behind it its rivals, where blocks
    are named.

    Raises:
        ModelError: no such block.
    """
    if not blocks:
        return tuple(names)
    chosen = [*ATTENTIONS] if "all" in blocks else [attention(block).name for block in blocks]
    known = set(model_names())
    listed = [
        name.replace("-ema", variant, 1)
        for name in names
        for variant in ("", "-ema", *(f"-{block}" for block in chosen))
    ]
    return tuple(dict.fromkeys(name for name in listed if name in known))


def describe(name: str) -> ModelEntry:
    """Count a model's parameters, operations, strides and attention blocks. ``name`` is as in
    `model_yaml`.
    """
    layers, _ = draw(yaml_model_load(model_yaml(name)), name)
    kinds = [name for layer in layers for name, block in BLOCKS.items() if type(layer) is block]
    parameters = sum(parameter.numel() for parameter in layers.parameters())
    operations, strides = forward_cost(layers, IMAGE_PX)
    return ModelEntry(
        name=name,
        parameters=parameters,
        gflops=round(operations / 1e9, 2),
        strides=strides,
        ema_blocks=kinds.count("EMA"),
        attention=kinds[0] if kinds else None,
        attention_blocks=len(kinds),
        pretrained=default_pretrained(name),
    )


def forward_cost(layers: torch.nn.Sequential, imgsz: int) -> tuple[int, tuple[int, ...]]:
    """Return the operations of one forward pass of one square image, counted as in `ModelEntry`,
    and the strides of the head's levels.

    Args:
        layers: a detector's, on torch's meta device; they lose their batch norms.
        imgsz: side of the image in pixels.
    """
    # Fusing removes batch norms, so they count nothing; here they would take most of the time.
    for module in layers.modules():
        if isinstance(getattr(module, "bn", None), torch.nn.BatchNorm2d):
            module.bn = torch.nn.Identity()
    head: Any = layers.eval()[-1]
    head.training = True  # the raw maps, for which it needs no strides
    image = torch.zeros(1, 3, imgsz, imgsz, device="meta")
    with torch.no_grad(), _OperationCounter() as counter:
        levels = inputs_of(head, run_layers(layers[:-1], image))
        head(levels)
    return counter.operations, tuple(imgsz // level.shape[-2] for level in levels)


class _OperationCounter(TorchDispatchMode):
    """Counts as torch's `FlopCounterMode` does, without its splitting of every other operator,
    which takes ten times as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator and add its count where it is a convolution or a matrix product."""
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=result)
        return result
