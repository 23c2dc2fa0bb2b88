"""The EMA block on this device against its paper's steps written out in float64."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from yolo_ema.doctor.gpu.place import CannotRunError, Finding, Place
from yolo_ema.nn.ema import EfficientMultiScaleAttention

LIMITS = {"float32": 5e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Largest difference to float64, as a share of the largest value: a few roundings of the type."""

COMPILED_LIMIT = 1e-4
_COMPILERS = ("cc", "gcc", "clang")


def precision(place: Place, dtype_name: str) -> Finding:
    """Compare the block's result and gradients, in a type, with the literal form in float64."""
    finding = Finding()
    dtype = getattr(torch, dtype_name)
    block, x, towards = _case(place, dtype)
    _without_tf32()
    for name, error in _errors(block, x, towards).items():
        finding.limit(f"{name}_error", error, at_most=LIMITS[dtype_name])
    if place.is_gpu and dtype_name == "float32":
        torch.backends.cudnn.allow_tf32 = True  # torch's default: told, and not held to a limit
        worst = max(_errors(block, x, towards).values())
        finding.measured["largest_error_with_tf32"] = worst
    return finding


def compiled(place: Place) -> Finding:
    """Compare the compiled block with the plain one, and compile once alone for one shape."""
    if place.is_gpu and not _can_compile():
        raise CannotRunError("torch.compile needs triton and a C compiler, and one is not here")
    finding, backend = Finding(), place.size("inductor", "eager")
    finding.measured["compiler"] = backend
    block, x, towards = _case(place, torch.float32)
    _without_tf32()
    plain = _results(block, x, towards)
    fast: Any = torch.compile(block, backend=backend)
    _results(fast, x, towards, of=block)
    with torch.compiler.set_stance("fail_on_recompile"):  # raises where it would compile again
        again = [_results(fast, x, towards, of=block) for _ in range(3)][-1]
    for name, error in _worst_of_parameters(_relative(again, plain)).items():
        finding.limit(f"{name}_error", error, at_most=COMPILED_LIMIT)
    return finding


def literal_ema(x: Tensor, parameters: Mapping[str, Tensor], groups: int, eps: float) -> Tensor:
    """Return EMA of ``x`` (B, C, H, W) in the paper's steps, each map computed whole
    (https://arxiv.org/abs/2305.13563, figure 3).
    """
    height, width = x.shape[2:]
    grouped = x.reshape(-1, x.shape[1] // groups, height, width)
    strips = torch.cat([grouped.mean(3, True), grouped.mean(2, True).transpose(2, 3)], 2)
    mixed = functional.conv2d(strips, parameters["conv1x1.weight"], parameters["conv1x1.bias"])
    rows, columns = mixed.split([height, width], 2)
    gated = grouped * rows.sigmoid() * columns.transpose(2, 3).sigmoid()
    first = functional.group_norm(
        gated, gated.shape[1], parameters["gn.weight"], parameters["gn.bias"], eps
    )
    second = functional.conv2d(
        grouped, parameters["conv3x3.weight"], parameters["conv3x3.bias"], padding=1
    )
    shares = [group.mean((2, 3), True).softmax(1) for group in (first, second)]
    attention = (shares[0] * second).sum(1, True) + (shares[1] * first).sum(1, True)
    return (grouped * attention.sigmoid()).reshape(x.shape)


def _case(place: Place, dtype: torch.dtype) -> tuple[EfficientMultiScaleAttention, Tensor, Tensor]:
    """Return a block with lively parameters, a map, and the gradient of the result."""
    shape = place.size((4, 256, 80, 72), (2, 32, 12, 9))
    generator = torch.Generator().manual_seed(0)
    block = EfficientMultiScaleAttention(shape[1])
    for parameter in block.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
    maps = [torch.randn(shape, generator=generator) for _ in range(2)]
    x, towards = (tensor.to(place.torch_device, dtype) for tensor in maps)
    return block.to(place.torch_device, dtype), x, towards


def _errors(block: EfficientMultiScaleAttention, x: Tensor, towards: Tensor) -> dict[str, float]:
    exact = copy.deepcopy(block).double()
    parameters = dict(exact.named_parameters())
    wide = x.double().requires_grad_()
    out = literal_ema(wide, parameters, exact.groups, exact.gn.eps)
    gradients = torch.autograd.grad(out, [wide, *parameters.values()], towards.double())
    names = ["result", "gradient", *(f"{name} gradient" for name in parameters)]
    expected = dict(zip(names, [out.detach(), *gradients], strict=True))
    return _worst_of_parameters(_relative(_results(block, x, towards), expected))


def _results(
    call: Any, x: Tensor, towards: Tensor, of: nn.Module | None = None
) -> dict[str, Tensor]:
    """Return the result and the gradients of a block, or of its compiled form."""
    parameters = dict((of or call).named_parameters())
    x = x.detach().requires_grad_()
    out = call(x)
    gradients = torch.autograd.grad(out, [x, *parameters.values()], towards)
    names = ["result", "gradient", *(f"{name} gradient" for name in parameters)]
    return dict(zip(names, [out.detach(), *gradients], strict=True))


def _relative(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    return {
        name: float((actual[name].double() - exact.double()).abs().max() / exact.abs().max())
        for name, exact in expected.items()
    }


def _worst_of_parameters(errors: dict[str, float]) -> dict[str, float]:
    """Return the errors of result and gradient, and the largest of the parameters' gradients."""
    map_errors = {name: errors.pop(name) for name in ("result", "gradient")}
    # Not max: of a NaN it would return the other.
    return map_errors | {"parameter_gradient": float(torch.tensor(list(errors.values())).max())}


def _without_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _can_compile() -> bool:
    has_compiler = bool(os.environ.get("CC")) or any(map(shutil.which, _COMPILERS))
    return has_compiler and find_spec("triton") is not None
