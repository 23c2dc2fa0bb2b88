"""yolo-ema: drone-view object detection with EMA attention inside Ultralytics YOLO.

The names below are the public ones; each is imported when first used, so that ``import yolo_ema``
costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from yolo_ema._version import __version__ as __version__

_PUBLIC = {
    "Detector": "yolo_ema.detect.detector",
    "EfficientMultiScaleAttention": "yolo_ema.nn",
    "YoloEmaError": "yolo_ema.errors",
    "model_yaml": "yolo_ema.engine.models.registration",
    "register": "yolo_ema.engine.models.registration",
}

__all__ = [
    "Detector",
    "EfficientMultiScaleAttention",
    "YoloEmaError",
    "__version__",
    "model_yaml",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'yolo_ema' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
