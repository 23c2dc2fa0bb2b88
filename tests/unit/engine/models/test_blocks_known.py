"""Our blocks are known to the check of descriptions, whatever was imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "first",
    [
        "from yolo_ema import EfficientMultiScaleAttention",
        pytest.param("import yolo_ema.nn, ultralytics.nn.tasks", marks=pytest.mark.slow),
        pytest.param("import ultralytics.nn.tasks, yolo_ema.nn", marks=pytest.mark.slow),
    ],
)
def test_blocks_are_known_in_any_order_of_imports(first):
    """In a process of its own: what is imported once stays so."""
    rest = (
        "from yolo_ema.engine.models.blocks import known_blocks; from yolo_ema.nn import BLOCKS; "
        "print(sorted({*BLOCKS} - {*known_blocks('EMA')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{first}; {rest}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
