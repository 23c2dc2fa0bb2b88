"""EMA: Efficient Multi-Scale Attention with Cross-Spatial Learning (Ouyang et al., ICASSP 2023,
https://arxiv.org/abs/2305.13563).

Written from the paper's mathematics in a closed form that needs neither the k→k convolution's
result nor the normalised map (docs/ema.md derives it). What differs from the paper: nothing in the
result; a group count that does not fit the channels is replaced by the nearest that does.

The import path ``yolo_ema.nn.ema.EfficientMultiScaleAttention`` and the attribute names are part of
the weights' format.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from yolo_ema.errors import ConfigError
from yolo_ema.nn.ema_algebra import fold_parameters
from yolo_ema.nn.ema_eager import GroupedAttention, working_type
from yolo_ema.nn.ema_graph import EmaParameters, GraphConstants, attend_graph, graph_constants
from yolo_ema.nn.ema_onnx import attend_onnx
from yolo_ema.nn.widths import check_numbers

__all__ = ["EfficientMultiScaleAttention", "fitting_groups", "trace_for"]

_T = TypeVar("_T")

MINIMUM_GROUP_CHANNELS = 2
"""A softmax over a single channel is 1 whatever the input, so a group of one channel would weigh
nothing.
"""


def fitting_groups(channels: int, factor: int) -> int:
    """Return the group count nearest to `factor` that divides `channels` and leaves at least two
    channels a group.

    Of two equally near counts the smaller wins (more channels a group). One channel makes one
    group.

    Args:
        channels: Channels of the map, at least 1.
        factor: The wished group count, at least 1.

    Raises:
        ConfigError: If either is not a whole number of at least 1.
    """
    check_numbers("EMA", channels=channels, factor=factor)
    counts = [
        count for count in range(1, channels // MINIMUM_GROUP_CHANNELS + 1) if channels % count == 0
    ]
    return min(counts, key=lambda count: (abs(count - factor), count), default=1)


def trace_for(model: nn.Module, *, fixed_size: bool, prefolded: bool = False) -> None:
    """Tell every EMA block of a model what it is traced for, before an export.

    Args:
        model: Any module.
        fixed_size: Height and width may become constants, which makes a leaner graph; the batch
            stays free in any case.
        prefolded: Nothing folds constants after the trace, so what depends on parameters alone
            becomes a constant of ONNX graphs here.
    """
    for module in model.modules():
        if isinstance(module, EfficientMultiScaleAttention):
            module.fixed_size, module.prefolded = fixed_size, prefolded


class EfficientMultiScaleAttention(nn.Module):
    """Efficient Multi-Scale Attention: weighs every pixel of each channel group, keeping the map's
    shape.

    State dicts of the authors' module load where the group count is the same.

    Args:
        channels: C, channels of the input and of the result.
        factor: G, the wished group count; `fitting_groups` picks the nearest that fits.

    Attributes:
        groups: The group count in use.
        conv1x1: 1×1 convolution k→k over the row and column means, k = C / G.
        conv3x3: 3×3 convolution k→k whose result is never computed whole.
        gn: Normalisation of each channel over its pixels, with scale and shift.
        fixed_size, prefolded: What `trace_for` set, False without.

    Raises:
        ConfigError: If `channels` or `factor` is not a whole number of at least 1.

    Examples:
        >>> import torch
        >>> from yolo_ema import EfficientMultiScaleAttention
        >>> EfficientMultiScaleAttention(64)(torch.rand(2, 64, 40, 40)).shape
        torch.Size([2, 64, 40, 40])
    """

    fixed_size: bool = False
    prefolded: bool = False

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__()
        self.groups = fitting_groups(channels, factor)
        width = channels // self.groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.gn = nn.GroupNorm(width, width)

    def extra_repr(self) -> str:
        """Return what `repr` adds: channels and groups."""
        return f"channels={self.groups * self.gn.num_channels}, groups={self.groups}"

    def forward(self, x: Tensor) -> Tensor:
        """Return x · σ(attention map).

        Args:
            x: (B, C, H, W), floating point; H and W at least 1.

        Returns:
            (B, C, H, W) in the type and memory format of `x`; in half precision everything but `x`
            and the result is float32.

        Raises:
            ConfigError: If `x` has another rank or channel count (not checked in scripted or traced
                modules).
        """
        if torch.jit.is_scripting():
            return self._graph(x)
        return self._dispatch(x)

    def _graph(self, x: Tensor) -> Tensor:
        constants = graph_constants(self._widened_parameters(), self.groups, x.shape[2], x.shape[3])
        made = attend_graph(_widened(x), self.groups, constants, self.gn.eps)
        return made if made.dtype == x.dtype else made.to(x.dtype)

    def _widened_parameters(self) -> EmaParameters:
        pool_bias, bias = self.conv1x1.bias, self.conv3x3.bias
        if (
            pool_bias is None or bias is None
        ):  # never so: TorchScript, to which a bias is optional, must be told
            raise ConfigError("EMA: both convolutions need a bias")
        return EmaParameters(
            pool_weight=_widened(self.conv1x1.weight),
            pool_bias=_widened(pool_bias),
            weight=_widened(self.conv3x3.weight),
            bias=_widened(bias),
            norm_weight=_widened(self.gn.weight),
            norm_bias=_widened(self.gn.bias),
        )

    @torch.jit.unused
    def _dispatch(self, x: Tensor) -> Tensor:
        """Choose the formulation; autocast is off inside, since the statistics belong in
        float32.
        """
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._dispatch(x)
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            if torch.onnx.is_in_onnx_export():
                return self._onnx(x)
            return self._fixed(x) if self.fixed_size else self._graph(x)
        self._check(x)
        pool, mix, norm = self.conv1x1, self.conv3x3, self.gn
        wide = working_type(
            x
            # folded in half precision, a sum of k products would lose digits that a large input
            # brings to light
        )
        kernel, kernel_bias, mean_weight = fold_parameters(
            mix.weight.to(wide), mix.bias.to(wide), norm.bias.to(wide)
        )
        return GroupedAttention.apply(
            x,
            self.groups,
            norm.eps,
            pool.weight.flatten(1),
            pool.bias,
            mean_weight,
            mix.bias,
            kernel,
            kernel_bias,
            norm.weight,
            norm.bias,
        )

    def _onnx(self, x: Tensor) -> Tensor:
        parameters = self._widened_parameters()
        fold = partial(fold_parameters, parameters.weight, parameters.bias, parameters.norm_bias)
        folded = _untraced(torch.no_grad()(fold)) if self.prefolded else fold()
        made = attend_onnx(_widened(x), self.groups, parameters, folded, self.gn.eps)
        return made if made.dtype == x.dtype else made.to(x.dtype)

    @torch.jit.unused
    def _fixed(self, x: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", torch.jit.TracerWarning
            )  # that the size becomes a constant is what is wanted
            size_hw = int(x.shape[2]), int(x.shape[3])
        constants = _untraced(self._constants, *size_hw)
        made = attend_graph(_widened(x), self.groups, constants, self.gn.eps, size_hw)
        return made if made.dtype == x.dtype else made.to(x.dtype)

    @torch.no_grad()
    def _constants(self, height: int, width: int) -> GraphConstants:
        return graph_constants(self._widened_parameters(), self.groups, height, width)

    def _check(self, x: Tensor) -> None:
        channels = self.groups * self.gn.num_channels
        if x.dim() != 4 or x.shape[1] != channels or not x.is_floating_point() or 0 in x.shape[2:]:
            raise ConfigError(
                f"EMA: expected a floating-point map (B, {channels}, H, W) of at least one pixel, "
                f"got {tuple(x.shape)} in {x.dtype}"
            )


def _untraced(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function such that its result is a constant of the graph being traced: tracing is
    bound to a thread.
    """
    with ThreadPoolExecutor(1) as untraced:
        return untraced.submit(function, *arguments).result()


def _widened(values: Tensor) -> Tensor:
    """Return half precision as float32, all else as it is: without a needless conversion in the
    graph.
    """
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
