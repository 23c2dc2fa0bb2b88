"""Datasets for training and validation."""
