"""EMA's closed form for ncnn, which knows no batch axis: the groups are not folded into the batch, but stay in the channels.

What the groups share is repeated once for each, so that grouped convolutions take the place of matrix products; pnnx folds what is
repeated into constants. Every operation here is one that pnnx turns into a layer of ncnn.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from yolo_ema.nn.ema_algebra import border_map, fold_parameters

__all__ = ["attend_ncnn"]


def attend_ncnn(
    x: Tensor,
    groups: int,
    *,
    pool_weight: Tensor,
    pool_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> Tensor:
    """Return EMA of `x`, as `ema_graph.attend_graph` with the same arguments.

    Args:
        x: (B, C, H, W) in float32.
        groups: G; k = C / G.
        pool_weight: The 1×1 convolution's kernel, (k, k, 1, 1).
        pool_bias: Its bias, (k,).
        weight: The 3×3 convolution's kernel, (k, k, 3, 3).
        bias: Its bias, (k,).
        norm_weight: γ of the normalisation, (k,).
        norm_bias: β of the normalisation, (k,).
        eps: ε of the normalisation.

    Returns:
        (B, C, H, W).
    """
    channels = bias.numel()
    height, width = x.shape[2], x.shape[3]
    kernel, kernel_bias, mean_weight = fold_parameters(weight, bias, norm_bias)

    row_means, column_means = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
    gates = pool_weight.repeat(groups, 1, 1, 1), pool_bias.repeat(groups)
    gated = x * functional.conv2d(row_means, *gates, groups=groups).sigmoid()
    gated = gated * functional.conv2d(column_means, *gates, groups=groups).sigmoid()

    mean_kernel = mean_weight.reshape(channels, channels, 3, 3).repeat(groups, 1, 1, 1)
    means = functional.conv2d(border_map(x, column_means), mean_kernel, bias.repeat(groups), groups=groups)  # (B, C, 1, 1)
    share = torch.softmax(means.reshape(-1, groups, channels), 2)
    centred = gated - gated.mean((2, 3), keepdim=True)
    variance = (centred * centred).mean((2, 3), keepdim=True).reshape(-1, groups, channels)
    scale = share * norm_weight * torch.rsqrt(variance + eps)  # (B, G, k)
    level = (share * norm_bias).sum(2, keepdim=True) + kernel_bias  # (B, G, 1)

    pixels = height * width
    second = torch.matmul(scale.unsqueeze(2), centred.reshape(-1, groups, channels, pixels)) + level.unsqueeze(3)
    one_kernel = kernel.t().reshape(1, channels, 3, 3).repeat(groups, 1, 1, 1)
    first = functional.conv2d(x, one_kernel, padding=1, groups=groups)  # (B, G, H, W)
    attention = (first.reshape(-1, groups, 1, pixels) + second).sigmoid()
    return (x.reshape(-1, groups, channels, pixels) * attention).reshape(-1, groups * channels, height, width)
