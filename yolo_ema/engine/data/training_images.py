"""Decodes images for training, as detection decodes them, and keeps decoded ones on disk where that
is asked for (``cache=disk``).
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ultralytics.utils.patches import imread

from yolo_ema.engine.setup.environment import cache_dir
from yolo_ema.errors import SourceError
from yolo_ema.io.atomic_files import atomic_path
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.media.sources.image_reader import read_image

_THROUGH_PILLOW = frozenset({".avif", ".heic", ".heif"})


def read_training_image(path: Path) -> np.ndarray:
    """Decode an image as (H, W, 3) uint8 BGR, upright, once its header has shown that it is not too
    large.

    Formats that `read_image` does not know go through Ultralytics' reader.

    Raises:
        SourceError: the file is missing, damaged, too large, or not an image.
    """
    if path.suffix.lower() not in _THROUGH_PILLOW:
        return read_image(path)
    with contextlib.suppress(ImportError):  # without it Pillow does not know HEIC
        import pi_heif

        pi_heif.register_heif_opener()
    try:
        image_wh(path)
    except ImageHeaderError as error:
        raise SourceError(f"{path} {error}") from error
    image = imread(path)
    if image is None:
        raise SourceError(f"{path} cannot be decoded")
    return image


def decoded_hw(image: str) -> tuple[int, int]:
    """Decode an image as training will, and return its height and width. Raises `SourceError`."""
    height, width = read_training_image(Path(image)).shape[:2]
    return height, width


def scaled_to(image: np.ndarray, longest_px: int) -> np.ndarray:
    """Return an image whose longer side has ``longest_px``, as Ultralytics scales it."""
    height, width = image.shape[:2]
    ratio = longest_px / max(height, width)
    if ratio == 1:
        return image
    size_wh = [min(math.ceil(side * ratio), longest_px) for side in (width, height)]
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)


def kept_image_path(label: Mapping[str, Any]) -> Path:
    """Return where the decoded image or tile of a label is kept, in the cache folder.

    The name changes with the image's path, size, time and the tile.
    """
    try:
        status = os.stat(label["im_file"])  # noqa: PTH116 - one call per image
        version: tuple[int, ...] = (status.st_size, status.st_mtime_ns)
    except OSError:
        version = ()
    parts = (label["im_file"], *version, label.get("tile_xyxy"))
    name = hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_dir() / "images" / f"{name}.npy"


def write_kept_image(file: Path, image: np.ndarray) -> None:
    """Keep a decoded image as a plain array. Raises `DiskFullError` where there is no room."""
    with atomic_path(file) as temp:
        np.save(temp, image, allow_pickle=False)


def read_kept_image(file: Path) -> np.ndarray | None:
    """Return a kept image; None where there is none, or its file is damaged."""
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
