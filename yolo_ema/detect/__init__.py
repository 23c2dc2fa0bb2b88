"""The `detect` verb and `Detector`."""
