"""Tiles of large images: numpy in, numpy out."""
