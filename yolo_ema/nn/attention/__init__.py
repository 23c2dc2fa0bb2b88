"""Attention blocks beside EMA, one file for each paper: rivals to compare with, and EMA without
its parts.
"""
