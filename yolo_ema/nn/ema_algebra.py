"""What the closed form of EMA needs from the parameters alone; see docs/ema.md for the derivation.

Both formulations (`ema_graph`, `ema_eager`) start from these small tensors. They are plain differentiable operations on parameters,
so autograd carries gradients through them in training, and exporters fold them into constants.

Legend: k channels of a group, N = B·G groups of a batch, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["border_means", "fold_parameters"]


def fold_parameters(weight: Tensor, bias: Tensor, norm_bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fold the 3×3 convolution and the normalisation's shift into what the closed form uses.

    Args:
        weight: Kernel of the 3×3 convolution, (k, k, 3, 3).
        bias: Its bias, (k,).
        norm_bias: β of the normalisation, (k,): the mean of each normalised channel, whatever the input.

    Returns:
        The k→1 kernel Σ_c softmax(β)_c·weight_c as (9, k), kernel position first; its bias Σ_c softmax(β)_c·bias_c as (1,);
        and the matrix (k, 9k) that takes the means of `border_means` to the mean of the convolution's result.
    """
    share = torch.softmax(norm_bias, 0)
    channels = weight.shape[0]
    kernel = torch.matmul(share, weight.flatten(1)).reshape(channels, 9).t()
    kernel_bias = (share * bias).sum(0, keepdim=True)
    # Kernel row 0 never sees the map's last row, row 2 never its first; columns likewise. Corners taken away twice come back.
    rows, columns = weight.sum(3), weight.sum(2)
    mean_weight = torch.stack(
        [
            weight.sum((2, 3)),
            -rows[:, :, 2],
            -rows[:, :, 0],
            -columns[:, :, 2],
            -columns[:, :, 0],
            weight[:, :, 2, 2],
            weight[:, :, 2, 0],
            weight[:, :, 0, 2],
            weight[:, :, 0, 0],
        ],
        2,
    )
    return kernel, kernel_bias, mean_weight.flatten(1)


def border_means(x: Tensor, row_means: Tensor, column_means: Tensor) -> Tensor:
    """Return what the mean of a zero-padded 3×3 convolution depends on, all divided by H·W.

    Args:
        x: (N, k, H, W).
        row_means: Means over the width, (N, k, H).
        column_means: Means over the height, (N, k, W).

    Returns:
        (N, 9k); the nine of a channel: whole map, first row, last row, first column, last column, the corners in reading order.
    """
    height, width = x.shape[2], x.shape[3]
    edge_rows = torch.cat([row_means[:, :, :1], row_means[:, :, -1:]], 2) / height
    edge_columns = torch.cat([column_means[:, :, :1], column_means[:, :, -1:]], 2) / width
    edges = torch.cat([x[:, :, :1], x[:, :, -1:]], 2)  # (N, k, 2, W)
    corners = torch.cat([edges[:, :, :, :1], edges[:, :, :, -1:]], 3).flatten(2) / (height * width)
    return torch.cat([row_means.mean(2, keepdim=True), edge_rows, edge_columns, corners], 2).flatten(1)
