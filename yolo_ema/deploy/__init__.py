"""Exported files: proving that they give the boxes of their weights, and giving them their name."""
