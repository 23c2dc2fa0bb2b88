"""Blocks in torch alone."""

from __future__ import annotations

import sys

from yolo_ema.nn.attention.catalog import BLOCKS
from yolo_ema.nn.ema import EfficientMultiScaleAttention, fitting_groups, trace_for

__all__ = ["BLOCKS", "EfficientMultiScaleAttention", "fitting_groups", "trace_for"]

# A process of plain Ultralytics meets a block in a weights file first, which imports this room,
# and builds a model from the description in that file next: it must know the block's name by then.
# Where nothing of Ultralytics is imported, nothing is done.
_parser = sys.modules.get("ultralytics.nn.tasks")
if _parser is not None:
    for _name, _block in BLOCKS.items():
        vars(_parser).setdefault(_name, _block)
