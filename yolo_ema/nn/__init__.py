"""Blocks in torch alone."""

from __future__ import annotations

from yolo_ema.nn.ema import EfficientMultiScaleAttention, fitting_groups, trace_for

__all__ = ["EfficientMultiScaleAttention", "fitting_groups", "trace_for"]
