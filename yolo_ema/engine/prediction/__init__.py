"""Prediction with `.pt` weights and with Ultralytics' backends."""
