"""EMA's closed form for eager PyTorch: few passes over memory, few saved tensors.

Differs from the plain formulation (`ema_graph`) in how, not in what, it computes:
    * it walks over slabs of whole groups that fit the processor's caches (one slab on an
      accelerator, where launches cost more);
    * for the gradient it keeps the input, one map a group and short vectors, and computes the gated
      map once more in the backward pass.

Legend: k channels of a group, n groups in a slab, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from yolo_ema.nn.ema_algebra import border_means

SLAB_ELEMENTS = 1 << 20
"""Elements of the input that a slab holds on a CPU: 4 MiB in float32, so that a slab and its few
buffers stay in the caches.
"""


class _Weights(NamedTuple):
    """Parameters in the type of computation: see `GroupedAttention.forward`."""

    pool_weight: Tensor
    pool_bias: Tensor
    mean_weight: Tensor
    mean_bias: Tensor
    kernel: Tensor
    kernel_bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


class _Slab(NamedTuple):
    """What the backward pass needs of a slab besides its input: short vectors, and `attention`, 1/k
    of the input's size.
    """

    strips: Tensor  # (n, k, H + W) row and column means
    gates: Tensor  # (n, k, H + W)
    centre: Tensor  # (n, k, 1, 1) mean of the gated map
    inverse_std: Tensor  # (n, k)
    borders: Tensor  # (n, 9k)
    share: Tensor  # (n, k) softmax of the convolution's means
    attention: Tensor  # (n, 1, H, W) after the sigmoid


class GroupedAttention(torch.autograd.Function):
    """EMA of (B, C, H, W) from folded parameters; once differentiable, float32 inside where the
    input is in half precision.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, eps: float, *parameters: Tensor) -> Tensor:
        """Return x · σ(map).

        Args:
            ctx: Autograd's context.
            x: (B, C, H, W), any memory format.
            groups: G; k = C / G.
            eps: ε of the normalisation.
            *parameters: In order: the 1×1 convolution's kernel (k, k) and bias (k,); the matrix (k,
                9k) and bias (k,) that give the means of the 3×3 convolution; its folded kernel (9,
                k) and bias (1,); γ and β of the normalisation, (k,).

        Returns:
            (B, C, H, W) in the type and memory format of `x`.
        """
        weights = _Weights(*(parameter.to(working_type(x)) for parameter in parameters))
        keep = any(ctx.needs_input_grad)
        out = torch.empty_like(x)
        kept: list[Tensor] = []
        for slab, target in zip(_slabs(x, groups), _slabs(out, groups), strict=True):
            part = _flat(slab)
            state = _attend_slab(part, weights, eps)
            torch.mul(
                part.view(slab.shape),
                state.attention.view(*slab.shape[:2], 1, *slab.shape[3:]),
                out=target,
            )
            if keep:
                kept.extend(state)
        if keep:
            ctx.groups = groups
            ctx.save_for_backward(x, *parameters, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input and of each parameter."""
        x, *rest = ctx.saved_tensors
        count, size = len(_Weights._fields), len(_Slab._fields)
        parameters, kept = rest[:count], rest[count:]
        with torch.autocast(x.device.type, enabled=False):
            weights = _Weights(*(parameter.to(working_type(x)) for parameter in parameters))
            sums = [torch.zeros_like(weight) for weight in weights]
            into = torch.empty_like(x)
            places = zip(
                _slabs(x, ctx.groups),
                _slabs(gradient, ctx.groups),
                _slabs(into, ctx.groups),
                strict=True,
            )
            for index, (slab, slab_gradient, target) in enumerate(places):
                state = _Slab(*kept[index * size : (index + 1) * size])
                part_gradient, found = _differentiate_slab(
                    _flat(slab), _flat(slab_gradient), state, weights
                )
                target.copy_(part_gradient.view(target.shape))
                for total, one in zip(sums, found, strict=True):
                    total.add_(one)
        return (
            into,
            None,
            None,
            *(total.to(parameter.dtype) for total, parameter in zip(sums, parameters, strict=True)),
        )


def working_type(x: Tensor) -> torch.dtype:
    """Return the type that EMA of `x` is computed in: float32 for half precision, else that of
    `x`.
    """
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def _slabs(x: Tensor, groups: int) -> Iterator[Tensor]:
    """Yield views (images, groups, k, H, W) of whole groups, as many as fit a slab; the whole batch
    on an accelerator.
    """
    split = x.unflatten(1, (groups, -1))  # (B, G, k, H, W), a view in every memory format
    if x.device.type != "cpu" or x.numel() <= SLAB_ELEMENTS:
        yield split
        return
    fit = max(1, SLAB_ELEMENTS // split[0, 0].numel())
    if fit >= groups:
        yield from split.split(fit // groups)
        return
    even = -(-groups // -(-groups // fit))
    for image in split.split(1):
        yield from image.split(even, 1)


def _flat(slab: Tensor) -> Tensor:
    """Return (n, k, H, W), contiguous and in the type of computation; without a copy where the slab
    is both already.
    """
    return slab.to(working_type(slab)).flatten(0, 1).contiguous()


def _gated_and_centred(x: Tensor, gates: Tensor, centre: Tensor) -> Tensor:
    height = x.shape[2]
    gated = x * gates[:, :, :height, None]
    return torch.addcmul(-centre, gated, gates[:, :, None, height:], out=gated)


def _attend_slab(x: Tensor, weights: _Weights, eps: float) -> _Slab:
    """Compute the attention of (n, k, H, W)."""
    count, _, height, width = x.shape
    pixels = height * width
    column_means = x.mean(2)
    strips = torch.cat([x.mean(3), column_means], 2)
    gates = torch.matmul(weights.pool_weight, strips).add_(weights.pool_bias[:, None]).sigmoid_()
    # The mean first, so that the variance is taken of a centred map: exact where the mean is large
    # beside the spread.
    rows = torch.matmul(x, gates[:, :, height:, None]).squeeze(3)
    centre = ((rows * gates[:, :, :height]).sum(2) / pixels)[:, :, None, None]
    centred = _gated_and_centred(x, gates, centre).flatten(2)
    inverse_std = (torch.linalg.vector_norm(centred, dim=2).square_() / pixels).add_(eps).rsqrt_()

    borders = border_means(x, column_means)
    share = torch.softmax(torch.addmm(weights.mean_bias, borders, weights.mean_weight.t()), 1)
    level = (share * weights.norm_bias).sum(1) + weights.kernel_bias
    attention = _shifted_sum(
        torch.matmul(weights.kernel, x.flatten(2)).view(count, 9, height, width)
    )
    attention = attention.view(count, 1, pixels).add_(level[:, None, None])
    attention.baddbmm_((share * weights.norm_weight * inverse_std)[:, None], centred)
    return _Slab(
        strips,
        gates,
        centre,
        inverse_std,
        borders,
        share,
        attention.sigmoid_().view(count, 1, height, width),
    )


def _differentiate_slab(
    x: Tensor, gradient: Tensor, state: _Slab, weights: _Weights
) -> tuple[Tensor, _Weights]:
    """Return the gradient of (n, k, H, W) and this slab's share of the parameters' gradients, in
    the order of `_Weights`.
    """
    count, channels, height, width = x.shape
    pixels = height * width
    strips, gates, centre, inverse_std, borders, share, attention = state
    row_gates, column_gates = gates[:, :, :height, None], gates[:, :, None, height:]
    map_gradient = (
        (x * gradient).sum(1, keepdim=True).mul_(attention - attention.square())
    )  # (n, 1, H, W)
    flat_map = map_gradient.view(count, 1, pixels)
    map_sum = flat_map.sum(2)  # (n, 1)

    # Second product: Σ_c share·γ/std·centred, and the level Σ_c share·β.
    scale = share * weights.norm_weight * inverse_std
    centred = _gated_and_centred(x, gates, centre)
    scale_gradient = torch.matmul(
        centred.view(count, channels, pixels), flat_map.transpose(1, 2)
    ).squeeze(2)  # (n, k)
    share_gradient = (
        scale_gradient * weights.norm_weight * inverse_std + map_sum * weights.norm_bias
    )
    mean_gradient = share * (share_gradient - (share * share_gradient).sum(1, keepdim=True))
    spread = scale_gradient * share * weights.norm_weight * inverse_std.pow(3) / -pixels
    gated_gradient = torch.addcmul(
        (scale * map_sum / -pixels)[:, :, None, None],
        centred,
        spread[:, :, None, None],
        out=centred,
    )
    gated_gradient.addcmul_(scale[:, :, None, None], map_gradient)

    # The two gates, and through the 1×1 convolution the means of rows and columns.
    pull = x * gated_gradient
    gate_gradient = torch.cat(
        [
            torch.matmul(pull, column_gates.transpose(2, 3)).squeeze(3),
            torch.matmul(row_gates.transpose(2, 3), pull).squeeze(2),
        ],
        2,
    )
    gate_gradient.mul_(gates - gates.square())
    strip_gradient = torch.matmul(weights.pool_weight.t(), gate_gradient)

    border_gradient = torch.matmul(mean_gradient, weights.mean_weight).view(count, channels, 3, 3)
    shifted = _shifted_copies(map_gradient).view(count, 9, pixels)
    result = _spread_means(strip_gradient, border_gradient, height, width)
    result.addcmul_(gradient, attention).addcmul_(gated_gradient.mul_(row_gates), column_gates)
    result.view(count, channels, pixels).baddbmm_(weights.kernel.t().expand(count, -1, -1), shifted)
    return result, _Weights(
        pool_weight=torch.matmul(gate_gradient, strips.transpose(1, 2)).sum(0),
        pool_bias=gate_gradient.sum((0, 2)),
        mean_weight=torch.matmul(mean_gradient.t(), borders),
        mean_bias=mean_gradient.sum(0),
        kernel=torch.matmul(shifted, x.view(count, channels, pixels).transpose(1, 2)).sum(0),
        kernel_bias=map_sum.sum(0),
        norm_weight=(scale_gradient * share * inverse_std).sum(0),
        norm_bias=(map_sum * share).sum(0),
    )


def _spread_means(strips: Tensor, borders: Tensor, height: int, width: int) -> Tensor:
    """Give the gradients of the row and column means (n, k, H + W) and of the border means (n, k,
    3, 3) back to the pixels.
    """
    borders = borders / width
    by_rows = borders[:, :, :, :1].repeat(1, 1, 1, width)  # (n, k, 3, W)
    by_rows[:, :, :, 0].add_(borders[:, :, :, 1])
    by_rows[:, :, :, -1].add_(borders[:, :, :, 2])
    by_rows.add_(functional.pad(strips[:, :, None, height:], (0, 0, 0, 2))).div_(height)
    result = (strips[:, :, :height] / width)[:, :, :, None] + by_rows[:, :, :1]
    result[:, :, 0].add_(by_rows[:, :, 1])
    result[:, :, -1].add_(by_rows[:, :, 2])
    return result


def _shift(step: int) -> tuple[slice, slice]:
    """Return (target, source) of one axis such that target[p] reads source[p + step]; step is −1, 0
    or 1.
    """
    ahead, behind, whole = slice(1, None), slice(None, -1), slice(None)
    return {-1: (ahead, behind), 0: (whole, whole), 1: (behind, ahead)}[step]


def _shifted_sum(parts: Tensor) -> Tensor:
    """Return Σ over the 3×3 kernel positions of parts (n, 9, H, W) at (row + down, column + right):
    (n, H, W).
    """
    total = parts[:, 4].clone()
    for position in (0, 1, 2, 3, 5, 6, 7, 8):
        (to_rows, from_rows), (to_columns, from_columns) = (
            _shift(position // 3 - 1),
            _shift(position % 3 - 1),
        )
        total[:, to_rows, to_columns].add_(parts[:, position, from_rows, from_columns])
    return total


def _shifted_copies(image: Tensor) -> Tensor:
    """Return the transpose of `_shifted_sum`: image (n, 1, H, W) nine times, zero beyond its
    border: (n, 9, H, W).
    """
    copies = image.new_zeros(image.shape[0], 9, *image.shape[2:])
    for position in range(9):
        (to_rows, from_rows), (to_columns, from_columns) = (
            _shift(position // 3 - 1),
            _shift(position % 3 - 1),
        )
        copies[:, position, from_rows, from_columns] = image[:, 0, to_rows, to_columns]
    return copies
