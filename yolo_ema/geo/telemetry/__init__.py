"""Where the camera was: readers of what drones and ground stations write, one result for all."""

from yolo_ema.geo.telemetry.live import LiveTelemetry
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry

__all__ = ["LiveTelemetry", "open_telemetry"]
