"""Run by Python at its start where PYTHONPATH names this folder, see the package beside it.

It imports next to nothing: every Python process that inherits the variable runs it.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PARSER = "ultralytics.nn.tasks"


class _RegistersBlock:
    """Finds Ultralytics' model parser as usual, and registers the block once it is imported."""

    @staticmethod
    def find_spec(name, path=None, _target=None):
        """Return the parser's spec, with a loader that registers the block afterwards."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == _PARSER else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_register(module):
            run(module)
            from yolo_ema.engine.models.registration import register

            register()

        spec.loader.exec_module = run_and_register
        return spec


def _run_the_next_sitecustomize():
    """Run the file that this one hides, if there is one."""
    others = [folder for folder in sys.path if Path(folder or ".").resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _RegistersBlock)
_run_the_next_sitecustomize()
