"""A page in the browser that shows what is detected, while it is detected."""

from __future__ import annotations

from yolo_ema.footage.live_page.page import LivePage

__all__ = ["LivePage"]
