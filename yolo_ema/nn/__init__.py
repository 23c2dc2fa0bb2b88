"""Blocks in torch alone."""

from __future__ import annotations

import sys

from yolo_ema.nn.ema import EfficientMultiScaleAttention, fitting_groups, trace_for

__all__ = ["EfficientMultiScaleAttention", "fitting_groups", "trace_for"]

# A process of plain Ultralytics meets the block in a weights file first, which imports this room,
# and builds a model from the description in that file next: it must know the block's name by then.
# Where nothing of Ultralytics is imported, nothing is done.
_parser = sys.modules.get("ultralytics.nn.tasks")
if _parser is not None and not hasattr(_parser, "EMA"):
    _parser.EMA = EfficientMultiScaleAttention  # type: ignore[attr-defined]
