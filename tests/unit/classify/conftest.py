"""A small folder of classes that differ in their brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def classes_folder(tmp_path: Path) -> Path:
    """Return a folder with train (8 images a class) and val (4) of dark, light and mid."""
    numbers = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for base, name in ((0, "dark"), (190, "light"), (90, "mid")):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = numbers.integers(0, 60, (32, 32, 3)) + base
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "set"
