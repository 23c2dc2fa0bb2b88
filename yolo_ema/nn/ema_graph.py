"""EMA's closed form in plain operations: what tracing, scripting, `torch.compile` and every exporter but ONNX's see.

The groups stay in the channels, and what they share is repeated once for each: OpenVINO keeps its own order of memory from
the convolution before to the one after, where folding the groups into the batch would cost two copies; ncnn knows no batch.
Sums over a group, and the way back to its channels, are 1×1 convolutions by ones. Runtimes fold what depends on parameters alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from yolo_ema.nn.ema_algebra import border_shares, fold_parameters

__all__ = ["EmaParameters", "attend_graph"]


class EmaParameters(NamedTuple):
    """The parameters of a block, k channels a group.

    Attributes:
        pool_weight: The 1×1 convolution's kernel, (k, k, 1, 1).
        pool_bias: Its bias, (k,).
        weight: The 3×3 convolution's kernel, (k, k, 3, 3).
        bias: Its bias, (k,).
        norm_weight: γ of the normalisation, (k,).
        norm_bias: β of the normalisation, (k,).
    """

    pool_weight: Tensor
    pool_bias: Tensor
    weight: Tensor
    bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


def attend_graph(x: Tensor, groups: int, parameters: EmaParameters, eps: float, size_hw: tuple[int, int] | None = None) -> Tensor:
    """Return EMA of `x`.

    Args:
        x: (B, C, H, W), not in half precision.
        groups: G; k = C / G.
        parameters: Of the block, in the type of `x`.
        eps: ε of the normalisation.
        size_hw: H and W where the graph is for this size alone; without them height, width and batch stay symbolic.

    Returns:
        (B, C, H, W).
    """
    channels = parameters.bias.shape[0]
    kernel, kernel_bias, mean_weight = fold_parameters(parameters.weight, parameters.bias, parameters.norm_bias)
    mean_kernel = mean_weight.reshape(channels, channels, 3, 3)

    if size_hw is None:
        row_means, column_means = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
        mean_kernel = mean_kernel * border_shares(mean_kernel, x.shape[2], x.shape[3])
    else:  # the same, and quicker in OpenVINO
        height, width = size_hw
        row_means, column_means = functional.avg_pool2d(x, (1, width)), functional.avg_pool2d(x, (height, 1))
        mean_kernel = mean_kernel * border_shares(mean_kernel, height, width)

    pool_weight, pool_bias = parameters.pool_weight.repeat(groups, 1, 1, 1), parameters.pool_bias.repeat(groups)
    gated = x * functional.conv2d(row_means, pool_weight, pool_bias, groups=groups).sigmoid()
    gated = gated * functional.conv2d(column_means, pool_weight, pool_bias, groups=groups).sigmoid()
    norm_weight, norm_bias = parameters.norm_weight.repeat(groups), parameters.norm_bias.repeat(groups)
    # Not functional.instance_norm: it refuses a single value a channel.
    normalised = torch.instance_norm(gated, norm_weight, norm_bias, None, None, True, 0.0, eps, False)

    rows = torch.cat([column_means, x[:, :, :1], x[:, :, -1:]], 2)  # (B, C, 3, W): all together, the first, the last
    borders = torch.cat([rows.mean(3, keepdim=True), rows[:, :, :, :1], rows[:, :, :, -1:]], 3)  # (B, C, 3, 3)
    means = functional.conv2d(borders, mean_kernel.repeat(groups, 1, 1, 1), parameters.bias.repeat(groups), groups=groups)
    share = torch.softmax(means.reshape(-1, groups, channels), 2).reshape(-1, groups * channels, 1, 1)

    each = kernel.t().reshape(channels, 1, 3, 3).repeat(groups, 1, 1, 1)
    both = functional.conv2d(x, each, padding=1, groups=groups * channels) + normalised * share
    members = torch.eye(groups, dtype=x.dtype, device=x.device).repeat_interleave(channels, 0).reshape(-1, groups, 1, 1)
    attention = functional.conv2d(both, members.transpose(0, 1), kernel_bias.repeat(groups)).sigmoid()  # (B, G, H, W)
    return x * functional.conv2d(attention, members)
