"""GAM: Global Attention Mechanism (Liu et al., 2021, https://arxiv.org/abs/2112.05561).

Written from the paper: no pooling, an MLP over the channels of each pixel, then two 7×7
convolutions. A reduction of 16 gives the parameters that EMA's paper counts for it.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_ema.nn.widths import hidden_channels


class GAM(nn.Module):
    """Weighs every value by a gate from its pixel's channels, then by one from its neighbourhood.

    Args:
        channels: C of the input and of the result.
        reduction: how many times narrower the hidden layers are.

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = hidden_channels("GAM", channels, reduction)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 7, padding=3),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed: (B, C, H, W) in, (B, C, H, W) out."""
        weighed = x * self.channel(x).sigmoid()
        gate: Tensor = self.spatial(weighed)
        return weighed * gate.sigmoid()
