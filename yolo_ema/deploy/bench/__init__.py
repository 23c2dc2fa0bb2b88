"""Runtimes of the same weights compared on this machine."""
