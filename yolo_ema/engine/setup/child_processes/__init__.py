"""Makes the block EMA known in processes that plain Ultralytics starts by itself.

``model.tune()`` and a training on several GPUs start ``yolo`` or a script of Ultralytics, which
know nothing of this project. Python runs a file ``sitecustomize.py`` at its start where it finds
one: the one beside this file waits until Ultralytics' model parser is imported, and registers the
block there. Nothing of Ultralytics is changed on the disk, and nothing happens unless PYTHONPATH
names this folder: by `teach_child_processes`, or in a shell by

    export PYTHONPATH=$(python -m yolo_ema.engine.setup.child_processes)
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["python_path", "teach_child_processes"]


def python_path() -> str:
    """Return what PYTHONPATH is to be: this folder before what it names already."""
    here = str(Path(__file__).resolve().parent)
    named = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return os.pathsep.join([here, *(folder for folder in named if folder != here)])


def teach_child_processes() -> None:
    """Let Python processes that this one starts from now on know the block in plain Ultralytics."""
    os.environ["PYTHONPATH"] = python_path()
