"""Aerial images in a projection, read window by window, and the places of boxes in them."""
