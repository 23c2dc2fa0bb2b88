"""EMA's closed form in plain operations: what tracing, scripting, `torch.compile` and every
exporter but ONNX's see.

The groups stay in the channels, and what they share is repeated once for each: OpenVINO keeps its
own order of memory from the convolution before to the one after, where folding the groups into the
batch would cost two copies; ncnn knows no batch. Sums over a group, and the way back to its
channels, are 1×1 convolutions by ones. Runtimes fold what depends on parameters alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from yolo_ema.nn.ema_algebra import border_shares, fold_parameters


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


class GraphConstants(NamedTuple):
    """What the graph takes from the parameters alone, repeated for every group: C = G·k.

    Attributes:
        pool_weight: The 1×1 convolution's kernel, (C, k, 1, 1).
        pool_bias: Its bias, (C,).
        mean_weight: From the borders of x to the mean of the 3×3 convolution, (C, k, 3, 3).
        mean_bias: That convolution's bias, (C,).
        norm_weight: γ of the normalisation, (C,).
        norm_bias: β of the normalisation, (C,).
        each: The k→1 kernel, channel by channel, (C, 1, 3, 3).
        one_bias: Its bias for every group, (G,).
        members: One where a channel belongs to a group, (C, G, 1, 1).
    """

    pool_weight: Tensor
    pool_bias: Tensor
    mean_weight: Tensor
    mean_bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    each: Tensor
    one_bias: Tensor
    members: Tensor


def graph_constants(
    parameters: EmaParameters, groups: int, height: int, width: int
) -> GraphConstants:
    """Return what `attend_graph` takes from the parameters; height and width may be symbolic."""
    channels = parameters.bias.shape[0]
    kernel, kernel_bias, mean_weight = fold_parameters(
        parameters.weight, parameters.bias, parameters.norm_bias
    )
    means = mean_weight.reshape(channels, channels, 3, 3) * border_shares(
        mean_weight, height, width
    )
    members = torch.eye(groups, dtype=kernel.dtype, device=kernel.device).repeat_interleave(
        channels, 0
    )
    return GraphConstants(
        pool_weight=parameters.pool_weight.repeat(groups, 1, 1, 1),
        pool_bias=parameters.pool_bias.repeat(groups),
        mean_weight=means.repeat(groups, 1, 1, 1),
        mean_bias=parameters.bias.repeat(groups),
        norm_weight=parameters.norm_weight.repeat(groups),
        norm_bias=parameters.norm_bias.repeat(groups),
        each=kernel.t().reshape(channels, 1, 3, 3).repeat(groups, 1, 1, 1),
        one_bias=kernel_bias.repeat(groups),
        members=members.reshape(-1, groups, 1, 1),
    )


def attend_graph(
    x: Tensor,
    groups: int,
    constants: GraphConstants,
    eps: float,
    size_hw: tuple[int, int] | None = None,
) -> Tensor:
    """Return EMA of `x`.

    Args:
        x: (B, C, H, W), not in half precision.
        groups: G; k = C / G.
        constants: Of the block's parameters, in the type of `x`.
        eps: ε of the normalisation.
        size_hw: H and W where the graph is for this size alone, which is leaner; otherwise they
            stay symbolic, as the batch does.

    Returns:
        (B, C, H, W).
    """
    if size_hw is None:
        row_means, column_means = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
    else:  # the same, and quicker in OpenVINO
        row_means, column_means = (
            functional.avg_pool2d(x, (1, size_hw[1])),
            functional.avg_pool2d(x, (size_hw[0], 1)),
        )
    gated = (
        x
        * functional.conv2d(
            row_means, constants.pool_weight, constants.pool_bias, groups=groups
        ).sigmoid()
    )
    gated = (
        gated
        * functional.conv2d(
            column_means, constants.pool_weight, constants.pool_bias, groups=groups
        ).sigmoid()
    )
    # Not functional.instance_norm: it refuses a single value a channel.
    normalised = torch.instance_norm(
        gated, constants.norm_weight, constants.norm_bias, None, None, True, 0.0, eps, False
    )

    means = functional.conv2d(
        _borders(x, column_means), constants.mean_weight, constants.mean_bias, groups=groups
    )
    channels = constants.each.shape[0]
    share = torch.softmax(means.reshape(-1, groups, channels // groups), 2).reshape(
        -1, channels, 1, 1
    )
    both = functional.conv2d(x, constants.each, padding=1, groups=channels) + normalised * share
    attention = functional.conv2d(
        both, constants.members.transpose(0, 1), constants.one_bias
    ).sigmoid()  # (B, G, H, W)
    return x * functional.conv2d(attention, constants.members)


def _borders(x: Tensor, column_means: Tensor) -> Tensor:
    """Return (B, C, 3, 3): the mean of the rows, the first, the last; of each the mean of the
    columns, the first, the last.
    """
    rows = torch.cat([column_means, x[:, :, :1], x[:, :, -1:]], 2)
    return torch.cat([rows.mean(3, keepdim=True), rows[:, :, :, :1], rows[:, :, :, -1:]], 3)
