"""A dataset in the YOLO layout whose images are not decoded."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_dataset(root: Path, images: int = 2, **entries) -> Path:
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(images):
            (root / "images" / split / f"{number}.jpg").write_bytes(b"jpeg" * (number + 1))
            (root / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    file = root / f"{root.name}.yaml"
    content = {
        "path": str(root),
        "train": "images/train",
        "val": "images/val",
        "names": ["car", "bus"],
        **entries,
    }
    file.write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None})
    )
    return file
