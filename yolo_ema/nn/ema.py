"""Efficient Multi-Scale Attention with Cross-Spatial Learning (Ouyang et al., ICASSP 2023, arXiv 2305.13563), in closed form."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["EfficientMultiScaleAttention"]


class EfficientMultiScaleAttention(nn.Module):
    """(B, C, H, W) → the same shape, scaled by an attention map per group of channels."""

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__()
        fitting = [count for count in range(1, channels + 1) if channels % count == 0 and (channels // count >= 4 or count == 1)]
        self.groups = min(fitting, key=lambda count: (abs(count - factor), -count))
        width = channels // self.groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.gn = nn.GroupNorm(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the attention."""
        batch, channels, height, width_px = x.shape
        k = channels // self.groups
        g = x.reshape(batch * self.groups, k, height, width_px)
        rows, columns = g.mean(3, keepdim=True), g.mean(2, keepdim=True).transpose(2, 3)
        gate = self.conv1x1(torch.cat([rows, columns], 2)).sigmoid()
        gate_rows, gate_columns = gate.split([height, width_px], 2)
        y = (g * gate_rows * gate_columns.transpose(2, 3)).float()
        u = self.conv3x3(g)
        a = u.float().mean((2, 3)).softmax(1)
        centred = y - y.mean((2, 3), keepdim=True)
        weight = a * self.gn.weight.float() * (centred.square().mean((2, 3)) + self.gn.eps).rsqrt()
        second = torch.einsum("bk,bkhw->bhw", weight, centred) + (a * self.gn.bias.float()).sum(1)[:, None, None]
        first = torch.einsum("k,bkhw->bhw", self.gn.bias.float().softmax(0), u.float())
        return (g * (first + second).sigmoid().to(x.dtype)[:, None]).reshape(batch, channels, height, width_px)
