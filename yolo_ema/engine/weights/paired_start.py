"""An equal start for trainings that are compared: what two models share begins with the same
values.

Weights that are carried over are equal where layers correspond. What is new is drawn at random
while a model is built, and an inserted block draws, too, so that with one and the same seed the
rest of the model would start from other numbers. So the head's new convolutions are drawn again
from numbers that depend on the seed and their place alone, what else is new in both takes the
values that the baseline has with this seed, and the random numbers of what follows (order and
augmentation of the images) start again from the seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import torch
from torch import nn
from ultralytics.utils.torch_utils import init_seeds, unwrap_model

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.engine.weights.transfer import TransferReport, corresponding_tensors, transfer_weights
from yolo_ema.errors import CheckFailedError


@dataclasses.dataclass
class PairedStart:
    """Makes a run's start equal to its baseline's where the two correspond, and checks that it is.

    Attributes:
        baseline: the baseline's model, by name or path.
        facts: what was found, for the record: how many tensors the two share, how many are the
            run's alone.
    """

    baseline: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, trainer: Any) -> None:
        """Run where the trainer has its model and before it trains; a resumed run is left alone.

        Raises:
            CheckFailedError: a tensor that both models have starts with other values.
        """
        if trainer.resume:
            return
        if trainer.transfer is None or not isinstance(trainer.args.pretrained, str):
            self.facts = {"pretrained": None}
            return
        model, baseline = unwrap_model(trainer.model), self._started_baseline(trainer)
        for started in (model, trainer.ema.ema):
            _draw_new_outputs(started, trainer.transfer, trainer.args.seed)
            baseline.to(next(started.parameters()).device)
            with torch.no_grad():
                for name, target, source in corresponding_tensors(baseline, started):
                    if name in trainer.transfer.new:
                        target.copy_(source)
        self._compare(model, baseline, trainer.transfer)
        init_seeds(trainer.args.seed + 1, deterministic=trainer.args.deterministic)

    def _started_baseline(self, trainer: Any) -> nn.Module:
        """Return the baseline's model as its own run with this seed starts with it."""
        # As Ultralytics' trainer does before it builds the model.
        torch.manual_seed(trainer.args.seed)
        baseline = trainer.set_model_names_for_load(build_model(self.baseline, trainer.data["nc"]))
        source = load_model(trainer.args.pretrained, trust=trainer.run_settings.trust).model
        _draw_new_outputs(baseline, transfer_weights(source, baseline), trainer.args.seed)
        return baseline

    def _compare(self, model: nn.Module, baseline: nn.Module, transfer: TransferReport) -> None:
        shared = list(corresponding_tensors(baseline, model))
        different = [name for name, a, b in shared if not torch.equal(a, b)]
        if different:
            raise CheckFailedError(
                f"the start is not equal: {len(different)} of {len(shared)} tensors that the model "
                f"shares with the baseline "
                f"{self.baseline} differ, {different[0]} the first"
            )
        total = len(model.state_dict())
        self.facts = {
            "carried_over": transfer.transferred,
            "of": total,
            "equal_to_baseline": len(shared),
            "own": total - len(shared),
        }


def _draw_new_outputs(model: nn.Module, transfer: TransferReport, seed: int) -> None:
    """Draw the head's convolutions that no weights were carried over to, as torch draws them, from
    the seed and their place; rows of classes that were carried over stay.
    """
    head: Any = model.model[-1]
    strides = [int(stride) for stride in head.stride]
    place = f"model.{len(model.model) - 1}."
    parameters = dict(model.named_parameters())
    for name in transfer.new:
        parts = name.removeprefix(place).split(".")
        if not name.startswith(place) or parts[-1] != "weight" or parameters[name].dim() != 4:
            continue
        key = f"{seed} {parts[0]} {strides[int(parts[1])]} {'.'.join(parts[2:])}"
        generator = torch.Generator().manual_seed(
            int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)
        )
        bound = parameters[name][0].numel() ** -0.5
        drawn = torch.empty(parameters[name].shape).uniform_(-bound, bound, generator=generator)
        with torch.no_grad():
            if transfer.rows is not None and name in transfer.partly:
                kept = list(transfer.rows.matched)
                drawn[kept] = parameters[name][kept].to(drawn)
            parameters[name].copy_(drawn)
