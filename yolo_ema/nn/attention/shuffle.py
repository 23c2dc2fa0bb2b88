"""SA: Shuffle Attention (Zhang and Yang, ICASSP 2021, https://arxiv.org/abs/2102.00240).

Written from the paper. A group count that does not fit the channels is replaced by the nearest
that does, since half a group is weighed by channel and half by pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_ema.errors import ConfigError
from yolo_ema.nn.ema import fitting_groups
from yolo_ema.nn.widths import check_numbers


class ShuffleAttention(nn.Module):
    """Weighs half of each group by its channels' means and half by its normalised pixels, then
    mixes the halves of all groups.

    Args:
        channels: C of the input and of the result, an even number.
        groups: the wished group count.

    Raises:
        ConfigError: a number is below 1, or the channels are odd.
    """

    def __init__(self, channels: int, groups: int = 64) -> None:
        super().__init__()
        check_numbers("shuffle attention", channels=channels, groups=groups)
        if channels % 2:
            raise ConfigError(f"shuffle attention: {channels} channels; expected an even number")
        # at least two channels in each half of a group where the channels allow it
        self.groups = fitting_groups(channels // 2, groups)
        width = channels // (2 * self.groups)
        self.channel_weight = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.channel_bias = nn.Parameter(torch.ones(1, width, 1, 1))
        self.spatial_weight = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.spatial_bias = nn.Parameter(torch.ones(1, width, 1, 1))
        self.norm = nn.GroupNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed and shuffled: (B, C, H, W) in, (B, C, H, W) out."""
        _, channels, height, width = x.shape
        grouped = x.reshape(-1, channels // self.groups, height, width)
        by_channel, by_pixel = grouped.chunk(2, dim=1)
        means = by_channel.mean((2, 3), keepdim=True)
        by_channel = by_channel * (self.channel_weight * means + self.channel_bias).sigmoid()
        normalised = self.norm(by_pixel)
        by_pixel = by_pixel * (self.spatial_weight * normalised + self.spatial_bias).sigmoid()
        weighed = torch.cat([by_channel, by_pixel], dim=1)
        halves = weighed.reshape(-1, 2, channels // 2, height, width)
        return halves.transpose(1, 2).reshape(-1, channels, height, width)
