"""Where detections go: one sink a format, all called alike."""

from __future__ import annotations

from yolo_ema.footage.sinks.annotated import AnnotatedCopies
from yolo_ema.footage.sinks.contract import FrameContext, Sink
from yolo_ema.footage.sinks.jsonl import JsonLines

__all__ = ["AnnotatedCopies", "FrameContext", "JsonLines", "Sink"]
