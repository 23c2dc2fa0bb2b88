"""BAM: Bottleneck Attention Module (Park et al., BMVC 2018, https://arxiv.org/abs/1807.06514).

Written from the paper. The paper's formula leaves out the activations between the convolutions;
they are ReLUs here, as its text says of the hidden layers.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from yolo_ema.nn.widths import check_numbers, hidden_channels


class BAM(nn.Module):
    """Weighs every value by x · (1 + σ(channel part + spatial part)).

    Args:
        channels: C of the input and of the result.
        reduction: how many times narrower the hidden layers are.
        dilation: of the two 3×3 convolutions of the spatial part.

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(self, channels: int, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        hidden = hidden_channels("BAM", channels, reduction)
        check_numbers("BAM", dilation=dilation)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )
        self.channel_norm = nn.BatchNorm2d(channels)
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
            nn.BatchNorm2d(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed: (B, C, H, W) in, (B, C, H, W) out."""
        means = self.channel(x.mean((2, 3), keepdim=True))
        return x * (1 + (self._normalised(means) + self.spatial(x)).sigmoid())

    def _normalised(self, means: Tensor) -> Tensor:
        """Return (B, C, 1, 1) normalised over the batch; a batch of one has no spread of its own
        and takes the running one, in training too.
        """
        norm = self.channel_norm
        if self.training and means.shape[0] == 1:
            return functional.batch_norm(
                means, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        normalised: Tensor = norm(means)
        return normalised
