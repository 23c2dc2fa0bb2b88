"""EMA's closed form for ONNX: the operations that ONNX Runtime is quickest at.

The groups are folded into the batch, which costs nothing where channels lie one after the other in
memory. A convolution from k channels to one would be computed for eight; as a transposed
convolution it is one matrix product and nine shifted sums.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from yolo_ema.nn.ema_algebra import border_shares
from yolo_ema.nn.ema_graph import EmaParameters

_ENDS = [0, -1]


def attend_onnx(
    x: Tensor,
    groups: int,
    parameters: EmaParameters,
    folded: tuple[Tensor, Tensor, Tensor],
    eps: float,
) -> Tensor:
    """Return EMA of `x`, as `attend_graph` of the same arguments.

    Args:
        x: (B, C, H, W), not in half precision.
        groups: G; k = C / G.
        parameters: Of the block, in the type of `x`.
        folded: What `fold_parameters` makes of them: traced operations for the simplifier to fold,
            or constants without one, since OpenCV cannot read their MatMul, nor can ONNX Runtime
            fold their ReduceSum in half precision.
        eps: ε of the normalisation.

    Returns:
        (B, C, H, W).
    """
    pool_weight, pool_bias, _, bias, norm_weight, norm_bias = parameters
    kernel, kernel_bias, mean_weight = folded
    channels, height, width = bias.numel(), x.shape[2], x.shape[3]
    grouped = x.reshape(-1, channels, height, width)  # (N, k, H, W) with N = B·G

    row_means, column_means = grouped.mean(3, keepdim=True), grouped.mean(2, keepdim=True)
    row_gates = functional.conv2d(row_means, pool_weight, pool_bias).sigmoid()
    gated = grouped * (
        row_gates * functional.conv2d(column_means, pool_weight, pool_bias).sigmoid()
    )
    # Not functional.instance_norm: it refuses a single value a channel.
    normalised = torch.instance_norm(
        gated, norm_weight, norm_bias, None, None, True, 0.0, eps, False
    )

    rows = torch.cat(
        [column_means, grouped[:, :, _ENDS]], 2
    )  # (N, k, 3, W): all together, the first, the last
    borders = torch.cat([rows.mean(3, keepdim=True), rows[:, :, :, _ENDS]], 3)  # (N, k, 3, 3)
    mean_kernel = mean_weight.reshape(channels, channels, 3, 3) * border_shares(
        mean_weight, height, width
    )
    share = torch.softmax(functional.conv2d(borders, mean_kernel, bias), 1)  # (N, k, 1, 1)

    second = torch.matmul(
        share.reshape(-1, 1, channels), normalised.reshape(-1, channels, height * width)
    )
    turned = kernel.flip(0).t().reshape(channels, 1, 3, 3)
    first = functional.conv_transpose2d(grouped, turned, kernel_bias, padding=1)
    attention = (first + second.reshape(-1, 1, height, width)).sigmoid()
    return (grouped * attention).reshape(-1, groups * channels, height, width)
