"""The version, in a module of its own: any room may ask for it without importing another."""

__version__ = "0.2.0"
