"""Runs the layers of an Ultralytics model one by one, keeping every output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def run_layers(layers: Sequence[nn.Module], image: torch.Tensor) -> list[torch.Tensor]:
    """Run the layers below the head, as Ultralytics builds them (``layer.f`` says where each reads
    from), on images (B, C, H, W), and return each one's output.
    """
    outputs: list[torch.Tensor] = []
    for layer in layers:
        outputs.append(layer(inputs_of(layer, outputs) if outputs else image))
    return outputs


def inputs_of(
    layer: nn.Module, outputs: Sequence[torch.Tensor]
) -> torch.Tensor | list[torch.Tensor]:
    """Return what a layer reads, given the outputs of all layers before it."""
    if isinstance(layer.f, int):
        return outputs[layer.f]
    return [outputs[source] for source in layer.f]
