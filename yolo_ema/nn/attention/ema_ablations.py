"""EMA without its parts, and the form that the parameters in its paper's table of ResNets hint at,
for ablations of Ouyang et al. (ICASSP 2023, https://arxiv.org/abs/2305.13563).

Written in the paper's literal steps, since what is left out is what the closed form of
`yolo_ema.nn.ema` rests on. The paper names these ablations without formulas; what takes a missing
part's place is said below, and is our reading.

- without the cross-spatial part, the two branches gate their group by σ(first + second)
- without the 3×3 branch, the first branch weighs itself, in place of the two weighing each other
- without the 1×1 branch, the second does
- the early form has a 1×3 and a 3×1 convolution in place of the 3×3: 7k² + 5k parameters for
  k channels a group, which the table's 23.85 M and 42.96 M equal; the published block has 10k² + 4k
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from yolo_ema.nn.ema import fitting_groups


class _LiteralEma(nn.Module, ABC):
    """What the ablations share: groups, the first branch, and how a branch weighs a map.

    Args:
        channels: C of the input and of the result.
        factor: the wished group count.

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__()
        self.groups = fitting_groups(channels, factor)
        self.width = channels // self.groups

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed: (B, C, H, W) in, (B, C, H, W) out."""
        grouped = x.reshape(-1, self.width, x.shape[2], x.shape[3])
        return (grouped * self._gates(grouped).sigmoid()).reshape(x.shape)

    @abstractmethod
    def _gates(self, grouped: Tensor) -> Tensor:
        """Return what the groups (B·G, k, H, W) are weighed by, before the sigmoid."""

    def _add_first_branch(self) -> None:
        self.conv1x1 = nn.Conv2d(self.width, self.width, 1)
        self.gn = nn.GroupNorm(self.width, self.width)

    def _first_branch(self, grouped: Tensor) -> Tensor:
        """Return the groups gated by their row and column means, and normalised."""
        height, width = grouped.shape[2], grouped.shape[3]
        rows = grouped.mean(3, keepdim=True)
        columns = grouped.mean(2, keepdim=True).transpose(2, 3)
        mixed = self.conv1x1(torch.cat([rows, columns], dim=2))
        rows, columns = mixed.narrow(2, 0, height), mixed.narrow(2, height, width)
        gated = grouped * rows.sigmoid() * columns.transpose(2, 3).sigmoid()
        normalised: Tensor = self.gn(gated)
        return normalised


def _weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Return the channels of ``values``, summed with the softmax of the means of ``weights``:
    (B, k, H, W) both in, (B, 1, H, W) out.
    """
    shares = weights.mean((2, 3), keepdim=True).softmax(1)
    return (shares * values).sum(1, keepdim=True)


class EMAWithoutCrossSpatial(_LiteralEma):
    """EMA whose branches are added instead of weighing each other."""

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__(channels, factor)
        self._add_first_branch()
        self.conv3x3 = nn.Conv2d(self.width, self.width, 3, padding=1)

    def _gates(self, grouped: Tensor) -> Tensor:
        both: Tensor = self._first_branch(grouped) + self.conv3x3(grouped)
        return both


class EMAWithout3x3(_LiteralEma):
    """EMA with the first branch alone, which weighs itself."""

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__(channels, factor)
        self._add_first_branch()

    def _gates(self, grouped: Tensor) -> Tensor:
        first = self._first_branch(grouped)
        return _weigh(first, first)


class EMAWithout1x1(_LiteralEma):
    """EMA with the second branch alone, which weighs itself."""

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__(channels, factor)
        self.conv3x3 = nn.Conv2d(self.width, self.width, 3, padding=1)

    def _gates(self, grouped: Tensor) -> Tensor:
        second = self.conv3x3(grouped)
        return _weigh(second, second)


class EarlyEMA(_LiteralEma):
    """EMA with a 1×3 and a 3×1 convolution, one after the other, in place of the 3×3."""

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__(channels, factor)
        self._add_first_branch()
        self.conv1x3 = nn.Conv2d(self.width, self.width, (1, 3), padding=(0, 1))
        self.conv3x1 = nn.Conv2d(self.width, self.width, (3, 1), padding=(1, 0))

    def _gates(self, grouped: Tensor) -> Tensor:
        first, second = self._first_branch(grouped), self.conv3x1(self.conv1x3(grouped))
        return _weigh(first, second) + _weigh(second, first)
