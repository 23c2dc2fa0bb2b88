"""Small datasets whose ignored regions are painted magenta on grey, so that pixels tell where
regions must be.
"""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import torch
from ultralytics.cfg import get_cfg

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported
from yolo_ema.engine.data.drone_dataset import DroneDataset, build_train_dataset
from yolo_ema.options.drone import DroneOptions

NAMES = {0: "person", 1: "car", 2: "bus"}
DATA = {"names": NAMES, "nc": 3, "channels": 3}

STILL = {
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.0,
    "mosaic": 0.0,
    "translate": 0.0,
    "scale": 0.0,
    "fliplr": 0.0,
    "flipud": 0.0,
    "augmentations": [],
}
"""Settings under which training changes nothing of an image but its size."""


def make_dataset(
    root: Path, *, images: int = 6, seed: int = 0, with_regions: bool = True, polygons: bool = False
) -> Path:
    """Write images with labels and regions under ``root`` and return the folder of the images."""
    rng = random.Random(seed)
    for folder in ("images", "labels", "ignored"):
        (root / folder / "train").mkdir(parents=True)
    for number in range(images):
        width, height = rng.choice([(320, 240), (240, 320), (400, 200), (256, 256)])
        picture = np.full((height, width, 3), 60, np.uint8)
        regions = draw_regions(picture, rng) if with_regions else []
        labels = draw_objects(picture, rng)
        cv2.imwrite(str(root / "images/train" / f"{number:03}.png"), picture)
        write_rows(
            root / "ignored/train" / f"{number:03}.txt",
            [xywh(box, width, height) for box in regions],
        )
        rows = [
            [cls, *(outline(box, width, height) if polygons else xywh(box, width, height))]
            for cls, box in labels
        ]
        write_rows(root / "labels/train" / f"{number:03}.txt", rows)
    return root / "images" / "train"


def draw_regions(picture: np.ndarray, rng: random.Random) -> list[tuple[int, int, int, int]]:
    height, width = picture.shape[:2]
    regions = []
    for _ in range(rng.randint(1, 2)):
        w, h = rng.randint(30, width // 2), rng.randint(30, height // 2)
        x, y = rng.randint(0, width - w), rng.randint(0, height - h)
        picture[y : y + h, x : x + w] = (255, 0, 255)
        regions.append((x, y, x + w, y + h))
    return regions


def draw_objects(
    picture: np.ndarray, rng: random.Random
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Draw objects in shades of grey where nothing is drawn yet."""
    height, width = picture.shape[:2]
    labels = []
    for _ in range(40):
        w, h = rng.randint(8, 24), rng.randint(8, 24)
        x, y = rng.randint(4, width - w - 4), rng.randint(4, height - h - 4)
        if (picture[y - 4 : y + h + 4, x - 4 : x + w + 4] == 60).all() and len(labels) < 8:
            picture[y : y + h, x : x + w] = 120 + 15 * len(labels)
            labels.append((rng.randrange(3), (x, y, x + w, y + h)))
    return labels


def xywh(box: tuple[int, int, int, int], width: int, height: int) -> list[float]:
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]


def outline(box: tuple[int, int, int, int], width: int, height: int) -> list[float]:
    x1, y1, x2, y2 = box
    return [v for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)) for v in (x / width, y / height)]


def write_rows(path: Path, rows: list[list[float]]) -> None:
    path.write_text("".join(" ".join(f"{value:.8g}" for value in row) + "\n" for row in rows))


def dataset_of(
    images: Path,
    *,
    mode: str = "train",
    imgsz: int = 256,
    drone: DroneOptions | None = None,
    **settings,
) -> DroneDataset:
    args = get_cfg(overrides={"task": "detect", "imgsz": imgsz, **STILL, **settings})
    return build_train_dataset(
        args,
        str(images),
        4,
        DATA,
        drone=drone or DroneOptions(),
        mode=mode,
        stride=32,
        rect=mode == "val",
    )


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - Ultralytics draws from numpy's global generator
    torch.manual_seed(seed)


def fill_buffer(dataset: DroneDataset) -> None:
    for index in range(len(dataset)):
        dataset.load_image(index)


def painted(sample: dict) -> np.ndarray:
    """Return where a sample shows magenta, alone or blended, (H, W) bool."""
    red, green, _ = sample["img"].numpy().astype(int)
    return red - green > 40


def inside_boxes(sample: dict, grow_px: float) -> np.ndarray:
    """Return which pixels' centres lie in a carried region, grown by ``grow_px``."""
    height, width = sample["img"].shape[1:]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    mask = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in sample["ignored_xyxy"].numpy() * [width, height, width, height]:
        columns = (x >= x1 - grow_px) & (x <= x2 + grow_px)
        rows = (y >= y1 - grow_px) & (y <= y2 + grow_px)
        mask |= rows[:, None] & columns
    return mask


def uncovered(sample: dict, grow_px: float = 1.5) -> int:
    """Return how many magenta pixels lie in no carried region."""
    return int((painted(sample) & ~inside_boxes(sample, grow_px)).sum())


def too_much(sample: dict, within_px: int) -> int:
    """Return how many pixels of the carried regions lie further than ``within_px`` from magenta."""
    near = (
        cv2.dilate(
            painted(sample).astype(np.uint8),
            np.ones((2 * within_px + 1, 2 * within_px + 1), np.uint8),
        )
        > 0
    )
    return int((inside_boxes(sample, 0.0) & ~near).sum())
