"""Where detections go: one sink per format, all with the same methods."""
