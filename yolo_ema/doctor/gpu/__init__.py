"""Checks that prove a GPU, each in a process of its own; on the CPU the same in miniature."""
