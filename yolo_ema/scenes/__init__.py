"""Drone scenes drawn in code, with exact labels."""
