"""Weights files: loading without running code, checkpoints, transfer between models."""
