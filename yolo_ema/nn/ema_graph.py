"""EMA's closed form in plain operations: what tracing, scripting, `torch.compile` and every exporter see.

Shapes stay symbolic, so height, width and batch may be dynamic. No adaptive pooling (it does not export with dynamic sizes) and no
convolution: runtimes that block channels by eight serve k→1 badly, so it is one matrix product and a sum of nine shifted maps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from yolo_ema.nn.ema_algebra import border_means, fold_parameters

__all__ = ["attend_graph"]


def attend_graph(
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
    onnx: bool,
) -> Tensor:
    """Return EMA of `x`; half precision is computed in float32 and returned in half precision.

    Args:
        x: (B, C, H, W).
        groups: G; k = C / G.
        pool_weight: The 1×1 convolution's kernel, (k, k, 1, 1).
        pool_bias: Its bias, (k,).
        weight: The 3×3 convolution's kernel, (k, k, 3, 3).
        bias: Its bias, (k,).
        norm_weight: γ of the normalisation, (k,).
        norm_bias: β of the normalisation, (k,).
        eps: ε of the normalisation.
        onnx: Use the operations that ONNX Runtime is quickest at, not those of OpenVINO and compilers; the values agree.

    Returns:
        (B, C, H, W), in the type of `x`.
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        wide = _attend(
            x.float(),
            groups,
            pool_weight=pool_weight.float(),
            pool_bias=pool_bias.float(),
            weight=weight.float(),
            bias=bias.float(),
            norm_weight=norm_weight.float(),
            norm_bias=norm_bias.float(),
            eps=eps,
            onnx=onnx,
        )
        return wide.to(x.dtype)
    return _attend(
        x,
        groups,
        pool_weight=pool_weight,
        pool_bias=pool_bias,
        weight=weight,
        bias=bias,
        norm_weight=norm_weight,
        norm_bias=norm_bias,
        eps=eps,
        onnx=onnx,
    )


def _attend(
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
    onnx: bool,
) -> Tensor:
    channels = weight.size(0)
    height, width = x.shape[2], x.shape[3]
    grouped = x.reshape(-1, channels, height, width)  # (N, k, H, W) with N = B·G
    kernel, kernel_bias, mean_weight = fold_parameters(weight, bias, norm_bias)

    column_means = grouped.mean(2)
    strips = torch.cat([grouped.mean(3), column_means], 2)  # (N, k, H + W)
    gates = (torch.matmul(pool_weight.reshape(channels, channels), strips) + pool_bias.reshape(channels, 1)).sigmoid()
    gated = grouped * gates[:, :, :height].unsqueeze(3) * gates[:, :, height:].unsqueeze(2)
    share = torch.softmax(functional.linear(border_means(grouped, column_means), mean_weight, bias), 1)
    if onnx:
        centred = gated - gated.mean((2, 3), keepdim=True)
        scale = share * norm_weight * torch.rsqrt((centred * centred).mean((2, 3)) + eps)  # (N, k)
        level = (share * norm_bias).sum(1, keepdim=True) + kernel_bias  # (N, 1)
        second = torch.matmul(scale.unsqueeze(1), centred.flatten(2)) + level.unsqueeze(2)  # (N, 1, H·W)
        first = functional.conv_transpose2d(grouped, kernel.flip(0).t().reshape(channels, 1, 3, 3), padding=1)
    else:
        # Not functional.group_norm: it refuses a single value a channel.
        normalised = torch.group_norm(gated, channels, norm_weight, norm_bias, eps)
        second = torch.matmul(share.unsqueeze(1), normalised.flatten(2)) + kernel_bias
        parts = torch.matmul(kernel, grouped.flatten(2)).reshape(-1, 9, height, width)
        first = _shifted_sum(functional.pad(parts, [1, 1, 1, 1]), height, width)  # (N, 1, H, W)
    attention = (first + second.reshape(-1, 1, height, width)).sigmoid()
    return (grouped * attention).reshape(-1, groups * channels, height, width)


def _shifted_sum(parts: Tensor, height: int, width: int) -> Tensor:
    """Add the nine maps (N, 9, H + 2, W + 2), each moved by its kernel position: (N, 1, H, W)."""
    total = parts[:, 0:1, 0:height, 0:width]
    for position in range(1, 9):
        down, right = position // 3, position % 3
        total = total + parts[:, position : position + 1, down : down + height, right : right + width]
    return total
