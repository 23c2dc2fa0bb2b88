"""What the checks work on: drawn scenes as a dataset, as a batch, and as an image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.doctor.gpu.place import Place
from yolo_ema.options.data import PrepareOptions
from yolo_ema.scenes import draw_scene, write_dataset
from yolo_ema.visdrone.prepare import prepare

SEED = 2_147_470_000


def dataset(place: Place) -> Path:
    """Return the data YAML of drawn scenes in VisDrone's layout, drawn once for all checks.

    A few scenes are drawn, and stand there several times under other names: three steps of the
    largest batch need more images than there is time to draw.
    """
    done = place.shared / "drawn"
    if not done.is_dir():
        drawn = place.folder / "being-drawn"
        _write(drawn, place)
        # The YAML names its folder, so it is made where it stays.
        shutil.rmtree(place.shared / "raw", ignore_errors=True)
        drawn.rename(place.shared / "raw")
        splits = ("train", "val")
        folders = tuple(place.shared / "raw" / f"VisDrone2019-DET-{split}" for split in splits)
        prepare(
            PrepareOptions(root=place.shared / "data", source=folders, splits=splits, offline=True)
        )
        done.mkdir()
    return next((place.shared / "data").rglob("*.yaml"))


def _write(root: Path, place: Place) -> None:
    scenes, copies = place.size((8, 6), (4, 1))
    write_dataset(
        root,
        train=scenes,
        val=place.size(4, 2),
        image_wh=place.size((1280, 720), (96, 64)),
        objects=place.size(80, 6),
        seed=7,
    )
    for kind in ("images", "annotations"):
        for file in list((root / "VisDrone2019-DET-train" / kind).iterdir()):
            for number in range(1, copies):
                shutil.copyfile(file, file.with_stem(f"{file.stem}_{number}"))


def drawn_batch(place: Place, images: int, side_px: int) -> dict[str, Any]:
    """Return a batch as the loss takes it: images (B, 3, H, W) in 0…1 on the device, boxes as
    centre and size in shares of the image.
    """
    pictures, rows = [], []
    for number in range(images):
        scene = draw_scene(SEED + number, image_wh=(side_px, side_px), objects=12)
        pictures.append(np.ascontiguousarray(scene.image_bgr[..., ::-1].transpose(2, 0, 1)))
        for left, top, width, height, _, label, *_ in scene.annotations.tolist():
            if 1 <= label <= len(VISDRONE_CLASSES) and width and height:
                box = (left + width / 2, top + height / 2, width, height)
                rows.append((number, label - 1, *(value / side_px for value in box)))
    table = torch.tensor(rows, dtype=torch.float32, device=place.torch_device)
    stacked = torch.from_numpy(np.stack(pictures)).to(place.torch_device).float() / 255
    return {
        "img": stacked,
        "batch_idx": table[:, 0],
        "cls": table[:, 1:2],
        "bboxes": table[:, 2:],
    }


def pictures(place: Place, count: int) -> list[np.ndarray]:
    """Return drawn scenes, 1920x1080 on a GPU, as BGR images."""
    image_wh = place.size((1920, 1080), (320, 192))
    return [
        draw_scene(
            SEED + 100 + number,
            image_wh=image_wh,
            objects=place.size(120, 30),
            range_m=(45.0, 60.0),
        ).image_bgr
        for number in range(count)
    ]
