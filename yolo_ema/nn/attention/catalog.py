"""The attention blocks by name: what a model's name, a model YAML and a classifier say to have one
of them in EMA's places.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from yolo_ema.errors import ModelError, did_you_mean
from yolo_ema.nn.attention.bam import BAM
from yolo_ema.nn.attention.ema_ablations import (
    EarlyEMA,
    EMAWithout1x1,
    EMAWithout3x3,
    EMAWithoutCrossSpatial,
)
from yolo_ema.nn.attention.gam import GAM
from yolo_ema.nn.attention.nam import NAM
from yolo_ema.nn.attention.shuffle import ShuffleAttention
from yolo_ema.nn.attention.timm_blocks import CBAM, ECA, CoordinateAttention, SqueezeExcitation
from yolo_ema.nn.attention.triplet import TripletAttention
from yolo_ema.nn.ema import EfficientMultiScaleAttention

__all__ = ["ATTENTIONS", "BLOCKS", "Attention", "attention"]


@dataclasses.dataclass(frozen=True)
class Attention:
    """An attention block and how it is set.

    Attributes:
        name: in model names and on the command line: the ``cbam`` of ``yolo11n-cbam``.
        block: its name in model YAMLs; ``nn.Identity`` for none.
        arguments: what stands behind the channels in a model YAML.
        title: what it is, with its paper.
    """

    name: str
    block: str
    arguments: tuple[int, ...]
    title: str

    @property
    def row(self) -> str:
        """Return block and arguments as a row of a model YAML has them: ``EMA, [c2, 8]``."""
        arguments = ["c2", *map(str, self.arguments)] if self.block in BLOCKS else []
        return f"{self.block}, [{', '.join(arguments)}]"

    def build(self, channels: int, *arguments: int) -> nn.Module:
        """Return a new block for ``channels``; ``arguments`` stand in for those of the catalogue.

        Raises:
            ConfigError: the channels do not fit.
            MachineError: the block is timm's, which is not installed.
        """
        if self.block not in BLOCKS:
            return nn.Identity()
        return BLOCKS[self.block](channels, *(arguments or self.arguments))


BLOCKS: dict[str, type[nn.Module]] = {
    "EMA": EfficientMultiScaleAttention,
    **{
        block.__name__: block
        for block in (
            SqueezeExcitation,
            CBAM,
            BAM,
            ECA,
            CoordinateAttention,
            ShuffleAttention,
            NAM,
            TripletAttention,
            GAM,
            EMAWithoutCrossSpatial,
            EMAWithout3x3,
            EMAWithout1x1,
            EarlyEMA,
        )
    },
}
"""Blocks by their names in model YAMLs."""

ATTENTIONS: dict[str, Attention] = {
    entry.name: entry
    for entry in (
        Attention("none", "nn.Identity", (), "no attention, the same layers otherwise"),
        Attention("ema", "EMA", (8,), "EMA in 8 groups (arXiv 2305.13563)"),
        Attention("ema-g4", "EMA", (4,), "EMA in 4 groups"),
        Attention("ema-g16", "EMA", (16,), "EMA in 16 groups"),
        Attention("ema-g32", "EMA", (32,), "EMA in 32 groups, as the paper has it"),
        Attention(
            "ema-no-cross", "EMAWithoutCrossSpatial", (8,), "EMA without the cross-spatial part"
        ),
        Attention("ema-no-3x3", "EMAWithout3x3", (8,), "EMA without the 3×3 branch"),
        Attention("ema-no-1x1", "EMAWithout1x1", (8,), "EMA without the 1×1 branch"),
        Attention("ema-early", "EarlyEMA", (8,), "EMA with 1×3 and 3×1 in place of 3×3"),
        Attention("se", "SqueezeExcitation", (16,), "squeeze-and-excitation (arXiv 1709.01507)"),
        Attention("cbam", "CBAM", (16,), "CBAM (arXiv 1807.06521)"),
        Attention("bam", "BAM", (16,), "BAM (arXiv 1807.06514)"),
        Attention("eca", "ECA", (), "efficient channel attention (arXiv 1910.03151)"),
        Attention("ca", "CoordinateAttention", (32,), "coordinate attention (arXiv 2103.02907)"),
        Attention("sa", "ShuffleAttention", (64,), "shuffle attention (arXiv 2102.00240)"),
        Attention("nam", "NAM", (), "NAM's channel part (arXiv 2111.12419)"),
        Attention("triplet", "TripletAttention", (), "triplet attention (arXiv 2010.03045)"),
        Attention("gam", "GAM", (16,), "GAM (arXiv 2112.05561)"),
    )
}
"""Attention blocks by their names, with the settings of their papers."""

_ALSO_CALLED = {"tam": "triplet", "coordatt": "ca", "coord": "ca", "shuffle": "sa"}
"""Names that papers and their code have for blocks, too."""


def attention(name: str) -> Attention:
    """Return an attention block by its name.

    Raises:
        ModelError: no block has this name; the message has the closest.

    Examples:
        >>> from yolo_ema import attention
        >>> attention("cbam").row
        'CBAM, [c2, 16]'
    """
    if name not in ATTENTIONS:
        called = _ALSO_CALLED.get(name.lower(), name)
        closest = did_you_mean(called, ATTENTIONS) or f"; there are {', '.join(ATTENTIONS)}"
        raise ModelError(f"no attention block is named {name!r}{closest}")
    return ATTENTIONS[name]
