"""Blocks in torch alone."""

from yolo_ema.nn.ema import EfficientMultiScaleAttention

__all__ = ["EfficientMultiScaleAttention"]
