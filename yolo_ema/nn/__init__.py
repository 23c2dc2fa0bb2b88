"""Blocks in torch alone."""
