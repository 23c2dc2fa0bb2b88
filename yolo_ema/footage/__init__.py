"""Sources of frames and sinks for detections."""
