"""NAM: Normalization-based Attention Module (Liu et al., 2021, https://arxiv.org/abs/2111.12419).

Written from the paper: its channel part, which is what its authors' figures were made with. The
spatial part normalises over pixels and needs one scale per pixel, so that a map of another size
would not fit.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_ema.nn.widths import check_numbers


class NAM(nn.Module):
    """Weighs every value by x · σ(γ share · batch norm of x): a channel's share of all scales says
    how much it matters.

    Args:
        channels: C of the input and of the result.

    Raises:
        ConfigError: the number is below 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_numbers("NAM", channels=channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed: (B, C, H, W) in, (B, C, H, W) out."""
        scales = self.norm.weight.abs()
        shares = (scales / scales.sum().clamp_min(1e-12)).view(1, -1, 1, 1)
        return x * (self.norm(x) * shares).sigmoid()
