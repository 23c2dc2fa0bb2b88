"""A process of this interpreter that runs a module of ours."""

from __future__ import annotations

import os
import sys

_RUN = (
    "import sys; sys.path[:] = {path}; import runpy; "
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *words: str) -> list[str]:
    """Return the command that runs a module as a program, as ``python -m MODULE WORDS…`` does, but
    imports from where this process does: ``-m`` would put the current folder first, and run what
    lies there under the name of a package, such as ``statistics.py``.
    """
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]  # noqa: PTH100 - "" is a folder, too
    return [sys.executable, "-c", _RUN.format(path=ascii(path), module=module), *words]
