"""Media: sources of frames, sinks for detections, drawing, the live page. numpy in, numpy out."""

from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.open_sources import Source, open_sources

__all__ = ["Frame", "FrameDetections", "Source", "open_sources"]
