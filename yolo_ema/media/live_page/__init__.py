"""A page in the browser that shows what is detected, while it is detected."""

from __future__ import annotations

from yolo_ema.media.live_page.live_page import LivePage

__all__ = ["LivePage"]
