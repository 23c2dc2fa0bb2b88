"""Footage: sources of frames, sinks for detections, and drawing. numpy in, numpy out."""

from yolo_ema.footage.frames import Frame, FrameDetections
from yolo_ema.footage.sources import Source, open_sources

__all__ = ["Frame", "FrameDetections", "Source", "open_sources"]
