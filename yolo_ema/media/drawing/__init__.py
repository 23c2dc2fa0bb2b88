"""Boxes, labels and legends drawn into images."""
