"""Inference without torch or Ultralytics: numpy in, numpy out."""
