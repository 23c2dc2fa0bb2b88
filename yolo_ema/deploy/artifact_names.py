"""The name of a file that is not proven yet: ``best-unproven.onnx`` for ``best.onnx``."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["final_name", "unproven_path"]

_MARK = "-unproven"
_ENDING = re.compile(r"(_[a-z0-9]+_model|(_edgetpu)?\.[a-z0-9]+)$")
"""What a format is told by: it stays at the end."""


def unproven_path(final: Path) -> Path:
    """Return the name that a file bears until it is proven."""
    ending = match[0] if (match := _ENDING.search(final.name)) else ""
    return final.with_name(final.name.removesuffix(ending) + _MARK + ending)


def final_name(unproven: Path) -> Path:
    """Return the name that a file bears once it is proven."""
    before, _, after = unproven.name.rpartition(_MARK)
    return unproven.with_name(before + after)
