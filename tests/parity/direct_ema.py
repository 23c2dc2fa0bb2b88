"""EMA in its direct form, step by step as the mathematics states it: what the block is measured
against, and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DirectEMA(nn.Module):
    """The five steps written out, each map computed whole; the caller names the group count."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        width = channels // groups
        self.groups = groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.gn = nn.GroupNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grouped = x.reshape(batch * self.groups, channels // self.groups, height, width)
        strips = torch.cat(
            [grouped.mean(3, keepdim=True), grouped.mean(2, keepdim=True).transpose(2, 3)], 2
        )
        rows, columns = self.conv1x1(strips).split([height, width], 2)
        gated = grouped * rows.sigmoid() * columns.transpose(2, 3).sigmoid()
        normalised = self._normalise(gated)
        mixed = self.conv3x3(grouped)
        attention = self._cross(normalised, mixed) + self._cross(mixed, normalised)
        return (grouped * attention.sigmoid()).reshape(x.shape)

    def _normalise(self, gated: Tensor) -> Tensor:
        if gated.shape[0] * gated.shape[2] * gated.shape[3] > 1:
            return functional.group_norm(
                gated, self.gn.num_groups, self.gn.weight, self.gn.bias, self.gn.eps
            )
        return (gated - gated) + self.gn.bias.reshape(
            1, -1, 1, 1
        )  # group_norm refuses one value a channel, whose deviation is zero

    @staticmethod
    def _cross(weigher: Tensor, weighed: Tensor) -> Tensor:
        share = torch.softmax(weigher.mean((2, 3)), 1).unsqueeze(1)  # (N, 1, k)
        return (share @ weighed.flatten(2)).unflatten(2, weighed.shape[2:])
