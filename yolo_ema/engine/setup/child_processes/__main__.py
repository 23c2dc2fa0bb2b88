"""Prints what PYTHONPATH is to be for plain Ultralytics to know the block EMA."""

from __future__ import annotations

from yolo_ema.engine.setup.child_processes import python_path

if __name__ == "__main__":
    print(python_path())  # noqa: T201 - what it is for
