"""Half precision in training: whether this GPU can be trusted with it, and bfloat16 on a CPU.

Ultralytics' own check downloads the weights of another model first. This one runs the model that is
trained, on noise: GPUs whose half-precision convolutions are broken (some GTX 16 series) give
infinities or numbers that are far off.

Ultralytics refuses ``amp=bf16`` on a CPU. On a processor with AVX512-BF16 it takes a third off a
step (docs/training.md), so it works here.
"""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
from torch import nn
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.utils import LOGGER

from yolo_ema.errors import MachineError

_TOLERANCE = 0.25
"""Largest difference to float32, in a map's standard deviations; broken GPUs are far off."""


def half_precision_works(model: nn.Module) -> bool:
    """Return whether ``model`` gives finite and close outputs under autocast on its own device;
    False on a device without it.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return False
    side = max(256, 4 * int(model.stride.max()))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, side, side, generator=generator).to(device)
    return _close_under_autocast(model, images, torch.float16)


def _close_under_autocast(model: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> bool:
    """Compare the maps that the head reads, level by level, with and without autocast."""
    recorded: list[list[torch.Tensor]] = []
    hook = model.model[-1].register_forward_pre_hook(
        lambda _, inputs: recorded.append([level.float() for level in inputs[0]])
    )
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(images)
            with torch.autocast(images.device.type, dtype=dtype):
                model(images)
    finally:
        hook.remove()
        model.train(training)
    worst = max(
        float((half - full).abs().max() / full.std().clamp_min(1e-6))
        for full, half in zip(*recorded, strict=True)
    )
    works = worst <= _TOLERANCE  # False for NaN, too
    LOGGER.info(
        f"half precision {'is used' if works else 'is off'}: its maps differ by up to {worst:.2g} "
        f"standard deviations"
    )
    return works


def own_amp_check() -> AbstractContextManager[Any]:
    """Let Ultralytics' trainer ask `half_precision_works` in place of its own check while the block
    runs.
    """
    return mock.patch.object(ultralytics_trainer, "check_amp", half_precision_works)


def check_bfloat16(amp: Any, device: torch.device) -> None:
    """Check that ``amp=bf16`` is possible on a device, and warn where it is slow.

    Raises:
        MachineError: the device does not compute in bfloat16.
    """
    if amp != "bf16":
        return
    if device.type not in {"cuda", "cpu"}:
        raise MachineError(f"amp=bf16 needs an NVIDIA GPU or a CPU; the device is {device}")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise MachineError(
            f"amp=bf16: {torch.cuda.get_device_name(device)} does not compute in bfloat16; leave "
            f"amp out for half precision"
        )
    if device.type == "cpu" and not _cpu_computes_bfloat16():
        LOGGER.warning("amp=bf16: this processor emulates bfloat16, which is slower than float32")


def _cpu_computes_bfloat16() -> bool:
    """Say whether the processor has instructions for bfloat16; torch has no public way to ask."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def cpu_bfloat16() -> AbstractContextManager[Any]:
    """Let Ultralytics' trainer compute in bfloat16 on a CPU, too, while the block runs."""
    before = ultralytics_trainer.autocast

    def autocast(enabled: bool | torch.dtype, device: str = "cuda") -> Any:
        if device == "cpu" and enabled is torch.bfloat16:
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return before(enabled, device=device)

    return mock.patch.object(ultralytics_trainer, "autocast", autocast)
