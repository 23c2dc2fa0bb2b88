"""Memory in tiles: that of the image, and no more for more tiles."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "memory.py"


def peak_gb(size: str, tile: str) -> tuple[float, dict]:
    words = [
        sys.executable,
        str(BENCHMARK),
        "--size",
        size,
        "--tile",
        tile,
        "--imgsz",
        "160",
        "--json",
    ]
    facts = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return facts["peak_gb"], facts


@pytest.mark.slow
def test_memory_grows_with_the_image_and_not_with_the_tiles():
    few, _ = peak_gb("4000x3000", "1000x1000")
    many, facts = peak_gb("4000x3000", "160x160")
    assert "tiles of 160x160" in facts["plan"]
    assert int(facts["plan"].split()[0]) > 500
    assert many < few + 0.1, "many times the tiles"
    assert many < 1.2
    assert facts["boxes"] > 500
    assert facts["jsonl_bytes"] > 50 * facts["boxes"]
