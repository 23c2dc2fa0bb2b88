"""Two trainings' weights averaged into one network, number by number.

Weights that were fine-tuned and those that they were fine-tuned from lie in one valley of the
loss: between them a network is often better than both, on what either had seen (Wortsman et al.,
*Robust fine-tuning of zero-shot models*, CVPR 2022). It costs nothing at detection.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import ConfigError, WeightsError


def average_into(model: nn.Module, other: Path, share: float) -> None:
    """Move a detector's weights towards those of another file, in place.

    ``share`` is that of the other, 0 (the network stays as it is) to 1 (it becomes the other). What
    the network counts (batches seen) stays its own.

    Raises:
        ConfigError: ``share`` is out of range.
        WeightsError: the file is missing, damaged, or carries code; or its classes or layers are
            not those of the network.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share is {share:g}; expected 0 to 1")
    second = load_model(other).model
    if list(second.names.values()) != list(model.names.values()):
        raise WeightsError(f"{other} has other classes: weights of other tasks are not averaged")
    state, values = model.state_dict(), second.state_dict()
    differing = sorted(
        key
        for key in state.keys() | values.keys()
        if key not in state or key not in values or state[key].shape != values[key].shape
    )
    if differing:
        raise WeightsError(
            f"{other} is of another model: {len(differing)} tensors differ, as {differing[0]}"
        )
    with torch.no_grad():
        for key, value in state.items():
            if value.is_floating_point():
                value.copy_(torch.lerp(value.float(), values[key].float(), share))
