"""Training on this device: each preset's steps, determinism, and gradients under DDP."""

from __future__ import annotations

import math
import re
import time
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolo_ema.doctor.gpu.drawn import dataset, drawn_batch
from yolo_ema.doctor.gpu.place import Finding, Place
from yolo_ema.engine.models.presets import PRESETS, fitting_batch, training_cost
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.training.train import train
from yolo_ema.nn.ema import EfficientMultiScaleAttention
from yolo_ema.options.train import TrainOptions

GRADIENT_LIMIT = 1e-3
"""Largest difference of a gradient under DDP, as a share of the largest gradient: one process
averages with itself, so only the order of additions may differ.
"""

LOSS_LIMIT = 1e-3
"""Largest difference of the losses of two deterministic runs, as a share: equal on a CPU; some
operations on GPUs have no deterministic form.
"""

TINY_PX, _TINY_BATCH = 64, 2


def preset_steps(place: Place, name: str) -> Finding:
    """Train an epoch of a few steps by a preset, as ``yolo-ema train`` does, and hold its memory
    against the estimate.
    """
    preset, finding = PRESETS[name], Finding()
    imgsz, model = place.size(preset.imgsz, TINY_PX), preset.model
    if not place.is_gpu:
        model = re.sub(r"11[sm]", "11n", model)  # in miniature all are of the smallest scale
    cost = training_cost(model, imgsz)
    memory_gb = _memory_gb(place)
    batch = _TINY_BATCH if memory_gb is None else fitting_batch(preset.batch, cost, memory_gb)
    steps = _Steps(place)
    train(
        TrainOptions(
            preset=name,
            model=model,
            data=str(dataset(place)),
            imgsz=imgsz,
            epochs=1,
            batch=batch,
            workers=place.size(None, 0),
            device=place.device,
            pretrained="none",
            project=place.folder,
            name="train",
            loggers=("none",),
            offline=True,
            settings={"plots": "false", "val": "false"},
        ),
        callbacks={"on_train_batch_end": steps.note},
    )
    finding.measured |= {
        "model": model,
        "imgsz": imgsz,
        "batch": batch,
        "steps": len(steps.losses),
        "seconds_per_step": median(steps.seconds[1:] or [math.nan]),
        "first_loss": steps.losses[0],
        "last_loss": steps.losses[-1],
        "half_precision": steps.amp,
        # Activations are kept in half precision on a GPU, in float32 on the CPU.
        "estimated_gb": batch * cost.kept_gb / place.size(2, 1),
        "peak_gb": steps.peak_gb,
        "memory_gb": memory_gb,
    }
    finding.expect(all(map(math.isfinite, steps.losses)), f"a loss is not a number: {steps.losses}")
    if place.is_gpu:
        finding.expect(steps.amp, "half precision is off: its maps are too far from float32")
        finding.expect(
            set(steps.batches) == {batch},
            f"the batch that fits by the estimate, {batch}, did not: it was lowered to "
            f"{min(steps.batches)}",
        )
    return finding


class _Steps:
    """What the trainer says after each step."""

    def __init__(self, place: Place) -> None:
        self._place, self._before = place, time.perf_counter()
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.batches: list[int] = []
        self.amp, self.peak_gb = False, None

    def note(self, trainer: Any) -> None:
        """Note a step: a callback of Ultralytics' trainer."""
        self._place.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self._before)
        self._before = now
        self.losses.append(float(trainer.loss.detach().sum()))
        self.batches.append(int(trainer.batch_size))
        self.amp = bool(trainer.amp)
        if self._place.is_gpu:
            self.peak_gb = torch.cuda.max_memory_allocated(trainer.device) / 1e9


def _memory_gb(place: Place) -> float | None:
    if not place.is_gpu:
        return None
    return torch.cuda.get_device_properties(place.torch_device).total_memory / 1e9


def deterministic(place: Place) -> Finding:
    """Run the block twice where torch refuses what is not deterministic, then train twice."""
    finding = Finding()
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    maps = [_block_gradients(place) for _ in range(2)]
    same = all(torch.equal(*pair) for pair in zip(*maps, strict=True))
    finding.measured["block_is_equal_bit_by_bit"] = same
    finding.expect(same, "two runs of the EMA block differ")
    torch.use_deterministic_algorithms(True, warn_only=True)  # as a training has it
    losses = [_losses_of_training(place) for _ in range(2)]
    finding.measured["losses_are_equal_bit_by_bit"] = losses[0] == losses[1]
    difference = max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))
    finding.limit("loss_difference", difference, at_most=LOSS_LIMIT)
    return finding


def _block_gradients(place: Place) -> list[torch.Tensor]:
    torch.manual_seed(0)
    block = EfficientMultiScaleAttention(64).to(place.torch_device)
    side = place.size(80, 12)
    x = torch.rand(2, 64, side, side).to(place.torch_device).requires_grad_()
    out = block(x)
    return [out.detach(), *torch.autograd.grad(out.sum(), [x, *block.parameters()])]


def _losses_of_training(place: Place) -> list[float]:
    torch.manual_seed(0)
    model, batch = _model_and_batch(place)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(place.size(5, 2)):
        optimizer.zero_grad()
        loss = model(batch)[0].sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def ddp(place: Place) -> Finding:
    """Compare the gradients of one process under DDP, over NCCL (gloo on the CPU), with those
    without it.
    """
    finding, backend = Finding(), place.size("nccl", "gloo")
    finding.measured["backend"] = backend
    torch.manual_seed(0)
    model, batch = _model_and_batch(place)
    alone = _gradients(model, model, batch)
    if place.is_gpu:
        torch.cuda.set_device(place.torch_device)
    meeting_point = f"file://{place.folder / 'meeting-point'}"
    dist.init_process_group(backend, init_method=meeting_point, rank=0, world_size=1)
    try:
        total = torch.full((4,), 2.5, device=place.torch_device)
        dist.all_reduce(total)
        finding.expect(bool((total == 2.5).all()), "a sum over one process is not its own value")
        wrapped = DistributedDataParallel(
            model, device_ids=[place.torch_device] if place.is_gpu else None
        )
        together = _gradients(wrapped, model, batch)
    finally:
        dist.destroy_process_group()
    largest = max(float(tensor.abs().max()) for tensor in alone)
    difference = max(float((a - b).abs().max()) for a, b in zip(alone, together, strict=True))
    finding.limit("gradient_difference", difference / largest, at_most=GRADIENT_LIMIT)
    return finding


def _gradients(call: nn.Module, model: nn.Module, batch: dict[str, Any]) -> list[torch.Tensor]:
    model.zero_grad()
    call(batch)[0].sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _model_and_batch(place: Place) -> tuple[Any, dict[str, Any]]:
    model: Any = build_model("yolo11n-ema").to(place.torch_device).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, overlap_mask=True, cls_pw=0.0)
    return model, drawn_batch(place, 2, place.size(320, TINY_PX))
