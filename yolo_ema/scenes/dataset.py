"""A drawn dataset in the folders and the annotation format of VisDrone2019-DET."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from yolo_ema.errors import ConfigError
from yolo_ema.io.atomic_files import write_bytes, write_text
from yolo_ema.scenes.scene import draw_scene

SPLITS = ("train", "val")

_STRIDE = 1_000_000


def split_seed(seed: int, split: str, index: int) -> int:
    """Return the seed of a scene. No two scenes of a dataset, of any splits, share one."""
    return seed * _STRIDE * len(SPLITS) + SPLITS.index(split) * _STRIDE + index


def write_dataset(
    root: str | Path,
    *,
    train: int = 400,
    val: int = 100,
    image_wh: tuple[int, int] = (960, 540),
    seed: int = 0,
    objects: int | None = None,
    range_m: tuple[float, float] = (48.0, 85.0),
) -> Path:
    """Draw scenes into ``root/VisDrone2019-DET-{train,val}/{images,annotations}``.

    Args:
        root: the folder to write into, created if missing. Files of the same names are replaced.
        train: number of scenes for training, 0 to 1,000,000.
        val: number of scenes for validation, drawn from other seeds.
        image_wh: image size, pixels.
        seed: the same seed and arguments give the same files.
        objects: roughly how many objects a scene holds; the default is that of `draw_scene`.
        range_m: distances from the lens to the ground in the centre of the image, metres.

    Returns:
        ``root``.

    Raises:
        ConfigError: a number out of range.
        DiskFullError: the disk is full.
    """
    root = Path(root)
    counts = {"train": train, "val": val}
    for split, count in counts.items():
        if not 0 <= count <= _STRIDE:
            raise ConfigError(f"{split} is {count}; expected 0 to {_STRIDE} scenes")
    for split, count in counts.items():
        folder = root / f"VisDrone2019-DET-{split}"
        for index in tqdm(range(count), desc=f"drawing {split}", unit="scene", disable=None):
            number = split_seed(seed, split, index)
            object_count = None if objects is None else _around(objects, number)
            scene = draw_scene(number, image_wh=image_wh, objects=object_count, range_m=range_m)
            name = f"drawn_{number:010d}"
            write_bytes(folder / "images" / f"{name}.jpg", _jpeg(scene.image_bgr))
            write_text(folder / "annotations" / f"{name}.txt", annotation_text(scene.annotations))
    return root


def annotation_text(annotations: NDArray[np.int64]) -> str:
    """Return VisDrone's rows (N, 8) as the text of an annotation file."""
    return "".join(",".join(map(str, row)) + "\n" for row in annotations.tolist())


def _around(objects: int, seed: int) -> int:
    """Return a number between two thirds and four thirds of ``objects``."""
    drawn = np.random.default_rng([seed, 4]).uniform(2 / 3, 4 / 3)
    return max(1, min(200, math.floor(objects * drawn + 0.5)))


def _jpeg(image_bgr: NDArray[np.uint8]) -> bytes:
    _, encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 94])
    return encoded.tobytes()
