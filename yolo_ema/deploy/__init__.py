"""Parity of exported files, benchmarks of runtimes."""
