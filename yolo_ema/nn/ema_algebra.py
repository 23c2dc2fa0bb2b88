"""What the closed form of EMA needs from the parameters alone; see docs/ema.md for the derivation.

Both formulations (`ema_graph`, `ema_eager`) start from these small tensors. They are plain
differentiable operations on parameters, so autograd carries gradients through them in training, and
exporters fold them into constants.

Legend: k channels of a group, N = B·G groups of a batch, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fold_parameters(
    weight: Tensor, bias: Tensor, norm_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Fold the 3×3 convolution and the normalisation's shift into what the closed form uses.

    Args:
        weight: Kernel of the 3×3 convolution, (k, k, 3, 3).
        bias: Its bias, (k,).
        norm_bias: β of the normalisation, (k,): the mean of each normalised channel, whatever the
            input.

    Returns:
        The k→1 kernel Σ_c softmax(β)_c·weight_c as (9, k), kernel position first; its bias Σ_c
        softmax(β)_c·bias_c as (1,); and the matrix (k, 9k) that takes the means of `border_means`
        to the mean of the convolution's result.
    """
    share = torch.softmax(norm_bias, 0)
    channels = weight.shape[0]
    kernel = torch.matmul(share, weight.flatten(1)).reshape(channels, 9).t()
    kernel_bias = (share * bias).sum(0, keepdim=True)
    # Of a zero-padded map, kernel row 0 never sees the last row and row 2 never the first; columns
    # likewise.
    by_rows = torch.stack([weight.sum(2), -weight[:, :, 2], -weight[:, :, 0]], 2)  # (k, k, 3, 3)
    mean_weight = torch.stack([by_rows.sum(3), -by_rows[:, :, :, 2], -by_rows[:, :, :, 0]], 3)
    return kernel, kernel_bias, mean_weight.flatten(1)


def border_means(x: Tensor, column_means: Tensor) -> Tensor:
    """Return what the mean of a zero-padded 3×3 convolution depends on, all divided by H·W.

    Args:
        x: (N, k, H, W).
        column_means: Means over the height, (N, k, W).

    Returns:
        (N, 9k), three by three for each channel: all rows, the first, the last; of each all
        columns, the first, the last.
    """
    height, width = x.shape[2], x.shape[3]
    by_rows = torch.cat(
        [column_means.unsqueeze(2), x[:, :, :1] / height, x[:, :, -1:] / height], 2
    )  # (N, k, 3, W)
    edges = [
        by_rows.mean(3, keepdim=True),
        by_rows[:, :, :, :1] / width,
        by_rows[:, :, :, -1:] / width,
    ]
    return torch.cat(edges, 3).flatten(1)


def border_shares(like: Tensor, height: int, width: int) -> Tensor:
    """Return what `border_means` divides by, for graphs that divide the weights instead: (3, 3), in
    the type of `like`.
    """
    one = torch.ones(1, dtype=like.dtype, device=like.device)
    by_rows, by_columns = (
        torch.cat([one, one / height, one / height]),
        torch.cat([one, one / width, one / width]),
    )
    return by_rows.unsqueeze(1) * by_columns
