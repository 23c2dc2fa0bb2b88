"""Cutting frames into tiles and merging their boxes. numpy in, numpy out."""
