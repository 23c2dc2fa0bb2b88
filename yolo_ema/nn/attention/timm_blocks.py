"""SE, CBAM, ECA and coordinate attention, as timm (https://github.com/huggingface/pytorch-image-models)
keeps them, with the settings of their papers.

- SE: Squeeze-and-Excitation (Hu et al., CVPR 2018, https://arxiv.org/abs/1709.01507)
- CBAM: Convolutional Block Attention Module (Woo et al., ECCV 2018,
  https://arxiv.org/abs/1807.06521)
- ECA: Efficient Channel Attention (Wang et al., CVPR 2020, https://arxiv.org/abs/1910.03151)
- Coordinate attention (Hou et al., CVPR 2021, https://arxiv.org/abs/2103.02907)

timm is imported where a block is made, since it takes a second.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from yolo_ema.errors import MachineError
from yolo_ema.nn.widths import check_numbers, hidden_channels


class _TimmBlock(nn.Module):
    """A block of timm's behind this project's name, which weights files carry."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` weighed: (B, C, H, W) in, (B, C, H, W) out."""
        weighed: Tensor = self.block(x)
        return weighed


class SqueezeExcitation(_TimmBlock):
    """Squeeze-and-Excitation: weighs channels by an MLP over their means.

    Args:
        channels: C of the input and of the result.
        reduction: how many times narrower the hidden layer is.

    Raises:
        ConfigError: a number is below 1.
        MachineError: timm is not installed.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        hidden = hidden_channels("SE", channels, reduction)
        super().__init__(_timm_layers().SEModule(channels, rd_channels=hidden))


class CBAM(_TimmBlock):
    """CBAM: weighs channels by an MLP over means and maxima, then pixels by a 7×7 convolution.

    Args:
        channels: C of the input and of the result.
        reduction: how many times narrower the hidden layer is.

    Raises:
        ConfigError: a number is below 1.
        MachineError: timm is not installed.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        hidden = hidden_channels("CBAM", channels, reduction)
        # with biases, as the authors' code has them and as the paper's parameters are counted
        super().__init__(
            _timm_layers().cbam.CbamModule(channels, rd_channels=hidden, mlp_bias=True)
        )


class ECA(_TimmBlock):
    """Efficient channel attention: weighs channels by a short 1-D convolution over their means.

    Args:
        channels: C of the input and of the result; it decides the width of the convolution.

    Raises:
        ConfigError: the number is below 1.
        MachineError: timm is not installed.
    """

    def __init__(self, channels: int) -> None:
        check_numbers("ECA", channels=channels)
        super().__init__(_timm_layers().EcaModule(channels))


class CoordinateAttention(_TimmBlock):
    """Coordinate attention: weighs rows and columns of each channel by their means.

    Args:
        channels: C of the input and of the result.
        reduction: how many times narrower the hidden layer is, which has 8 channels at least.

    Raises:
        ConfigError: a number is below 1.
        MachineError: timm is not installed.
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        hidden = max(hidden_channels("coordinate attention", channels, reduction), 8)
        super().__init__(
            _timm_layers().coord_attn.CoordAttn(channels, rd_channels=hidden, bias=True)
        )


def _timm_layers() -> ModuleType:
    try:
        from timm import layers
    except ImportError as error:
        raise MachineError(
            "this attention block is timm's, which is not installed: "
            'pip install "yolo-ema[attention]"'
        ) from error
    return layers
