"""Run by Python at its start where PYTHONPATH names this folder, see the package around it.

It imports next to nothing: every Python process that inherits the variable runs it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).resolve().parent
_PARSER = "ultralytics.nn.tasks"


class _RegistersBlocks:
    """Finds Ultralytics' model parser as usual, and registers the blocks once it is imported."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the parser's spec, with a loader that registers the blocks afterwards."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == _PARSER else None
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        run = loader.exec_module

        def run_and_register(parser: Any) -> None:
            run(parser)
            import torch

            from yolo_ema.nn import BLOCKS

            vars(parser).update(BLOCKS)
            torch.serialization.add_safe_globals([*BLOCKS.values()])

        loader.exec_module = run_and_register
        return spec


def _run_the_next_sitecustomize() -> None:
    """Run the file that this one hides, if there is one."""
    others = [folder for folder in sys.path if Path(folder or ".").resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _RegistersBlocks)
_run_the_next_sitecustomize()
