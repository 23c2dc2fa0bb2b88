"""A dataset small enough to train on within seconds: bright squares and dark bars on grey, in the
YOLO layout.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

NAMES = ("square", "bar")


def draw_dataset(
    root: Path, *, train: int = 12, val: int = 4, side_px: int = 96, seed: int = 0
) -> Path:
    """Draw images with labels and, in the first of each split, an ignored region; return the data
    YAML.
    """
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for folder in ("images", "labels", "ignored"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, rows = _draw(random, side_px)
            cv2.imwrite(str(root / "images" / split / f"{number:03}.jpg"), image)
            (root / "labels" / split / f"{number:03}.txt").write_text("\n".join(rows) + "\n")
        (root / "ignored" / split / "000.txt").write_text("0.2 0.2 0.2 0.2\n")
    yaml = root / f"{root.name}.yaml"
    yaml.write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]\n"
    )
    return yaml


def _draw(random: np.random.Generator, side_px: int) -> tuple[np.ndarray, list[str]]:
    image = random.integers(90, 130, (side_px, side_px, 3), dtype=np.uint8)
    rows = []
    for _ in range(6):
        kind = int(random.integers(2))
        width, height = ((12, 12), (20, 8))[kind]
        left, top = random.integers(0, side_px - 20, 2)
        image[top : top + height, left : left + width] = (250, 30)[kind]
        values = (
            (left + width / 2) / side_px,
            (top + height / 2) / side_px,
            width / side_px,
            height / side_px,
        )
        rows.append(" ".join([str(kind), *(f"{value:.6f}" for value in values)]))
    return image, rows
