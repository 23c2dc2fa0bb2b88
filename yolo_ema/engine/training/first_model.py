"""The model that a run begins with: new, with weights carried over, or a checkpoint's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import nn

from yolo_ema.engine.training.setting_checks import check_freeze, check_same_classes
from yolo_ema.engine.weights.loading import load_checkpoint, load_model


def first_model(trainer: Any) -> tuple[nn.Module, dict[str, Any] | None]:
    """Make the model and its first weights for an `EmaTrainer` whose data is read; return it with
    the checkpoint that the run continues from, None for a new run.

    Raises:
        ConfigError: layers to freeze do not exist, or the checkpoint has other classes.
        ModelError, WeightsError: the model or weights are wrong.
    """
    if trainer.resume:
        return _continued_model(trainer)
    args, trust = trainer.args, trainer.run_settings.trust
    config, weights = trainer.model, None
    if str(config).lower().endswith(".pt"):
        weights = load_model(config, trust=trust).model
        config = weights.yaml
    if args.pretrained is False:
        weights = None
    elif isinstance(args.pretrained, str | Path):
        weights = load_model(args.pretrained, trust=trust).model
    model = trainer.get_model(config, weights)
    check_freeze(args.freeze, model)
    return model, None


def _continued_model(trainer: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Take the checkpoint's averaged model as it is: carried weights may have widened its head
    beyond what its YAML says.
    """
    checkpoint = load_checkpoint(trainer.args.resume, trust=trainer.run_settings.trust)
    check_same_classes(checkpoint["ema"].names, trainer.data)
    return copy.deepcopy(checkpoint["ema"]).float().requires_grad_(True), checkpoint
