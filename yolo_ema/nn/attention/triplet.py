"""Triplet attention (Misra et al., WACV 2021, https://arxiv.org/abs/2010.03045); EMA's paper calls
it TAM.

Written from the paper: a gate over each of the three pairs of dimensions, averaged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_ema.nn.widths import check_numbers


class TripletAttention(nn.Module):
    """Weighs every value by the mean of three gates: over (H, W), (C, W) and (H, C).

    Args:
        channels: C of the input and of the result; no parameter depends on it.

    Raises:
        ConfigError: the number is below 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_numbers("triplet attention", channels=channels)
        self.height_width = _Gate()
        self.channel_width = _Gate()
        self.height_channel = _Gate()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed: (B, C, H, W) in, (B, C, H, W) out."""
        over_channels = self.height_width(x)
        over_height = self.channel_width(x.transpose(1, 2)).transpose(1, 2)
        over_width = self.height_channel(x.transpose(1, 3)).transpose(1, 3)
        return (over_channels + over_height + over_width) / 3


class _Gate(nn.Module):
    """Weighs by a 7×7 convolution over the maximum and the mean of dimension 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * self.norm(self.conv(pooled)).sigmoid()
