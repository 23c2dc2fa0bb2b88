"""Runs the command line as if only the packages of ``requirements-edge.txt`` were installed."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def edge_packages() -> dict[str, str]:
    """Return the packages of ``requirements-edge.txt`` with their lower bounds, or empty texts."""
    lines = (REPOSITORY / "requirements-edge.txt").read_text(encoding="utf-8").splitlines()
    rows = [re.fullmatch(r"([\w.-]+)(>=[\w.]+)?", line) for line in lines]
    return {row[1].lower(): row[2] or "" for row in rows if row}


def runtime_packages() -> set[str]:
    """Return those for which another runtime's stand in: the lines behind the last empty one."""
    text = (REPOSITORY / "requirements-edge.txt").read_text(encoding="utf-8")
    return {line.partition(">=")[0] for line in text.strip().rpartition("\n\n")[2].split()}


class OnlyEdgePackages:
    """Finds no module of any other package, and none of those ``without``."""

    def __init__(self, more: list[str], without: set[str] | None = None) -> None:
        wanted = {*edge_packages(), *more} - (without or set())
        self.barred = {
            module
            for module, packages in packages_distributions().items()
            if module != "yolo_ema" and not wanted & {package.lower() for package in packages}
        }

    def find_spec(self, name: str, *_: object) -> None:
        """Raise for a module that the edge does not have."""
        if name.partition(".")[0] in self.barred:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    more, words = sys.argv[1], sys.argv[2:]
    sys.meta_path.insert(0, OnlyEdgePackages(more.split(",")))
    from yolo_ema.cli import main

    code = main(words)
    loaded = {"torch", "torchvision", "ultralytics", "matplotlib", "pydantic"} & sys.modules.keys()
    sys.exit(f"imported: {loaded}" if loaded else code)
