"""Validation of weights on a dataset."""
