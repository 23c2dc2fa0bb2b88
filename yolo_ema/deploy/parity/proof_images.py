"""What a file is proven on: the user's images or scenes drawn in code, and a crowded scene."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_ema.constants import IMAGE_SUFFIXES, is_hidden
from yolo_ema.errors import DataNotFoundError
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.scenes.scene import Scene, draw_scene

MAX_IMAGES = 24
"""Maximum number of images; larger sets are sampled evenly."""

_SCENES = 5
_SCENE_WH = (1280, 720)
_SCENE_OBJECTS = 130
_FIRST_SEED = 1_700_000_000


@dataclass(frozen=True)
class ProofImage:
    """An image and its name in the report.

    Attributes:
        name: of the image.
        source: its file, reread each time since many large images would not fit into memory; or
            its pixels.
    """

    name: str
    source: Path | np.ndarray

    def bgr(self) -> np.ndarray:
        """Return the pixels (H, W, 3) uint8. Raises `SourceError` if the file cannot be read."""
        return read_image(self.source) if isinstance(self.source, Path) else self.source


def sampled_files(places: Sequence[Path], maximum: int) -> list[Path]:
    """Return the named images and those in named folders, each once; larger sets are sampled
    evenly.

    Raises:
        DataNotFoundError: a place is missing, or there is no image.
    """
    if missing := [str(path) for path in places if not path.exists()]:
        raise DataNotFoundError(
            f"there is nothing at {', '.join(missing)}; --images takes images and folders of images"
        )
    files = [
        file for path in places for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    files = [
        file
        for file in files
        if file in places or (file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file.name))
    ]
    if not files:
        raise DataNotFoundError(f"there are no images in {', '.join(map(str, places))}")
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(os.path.realpath(file), file)
    files = list(first.values())
    chosen = np.linspace(0, len(files) - 1, min(len(files), maximum)).round().astype(int)
    return [files[number] for number in chosen]


def user_images(places: Sequence[Path]) -> list[ProofImage]:
    """Return at most `MAX_IMAGES` of the user's images. Raises as `sampled_files` does."""
    return [ProofImage(str(file), file) for file in sampled_files(places, MAX_IMAGES)]


def drawn_images() -> list[ProofImage]:
    """Return 20 drawn images, the quarters of five scenes, the same at each call."""
    width, height = _SCENE_WH[0] // 2, _SCENE_WH[1] // 2
    return [
        ProofImage(
            f"scene {number}, {place}",
            np.ascontiguousarray(_scene(number).image_bgr[top : top + height, left : left + width]),
        )
        for number in range(_SCENES)
        for place, left, top in (
            ("top left", 0, 0),
            ("top right", width, 0),
            ("bottom left", 0, height),
            ("bottom right", width, height),
        )
    ]


def crowded_image() -> tuple[ProofImage, int]:
    """Return a drawn image of four scenes, two by two, and the number of objects in it, more
    than 300.
    """
    scenes = [_scene(number) for number in range(4)]
    rows = [np.hstack([scene.image_bgr for scene in scenes[start : start + 2]]) for start in (0, 2)]
    objects = sum(int((scene.annotations[:, 5] > 0).sum()) for scene in scenes)
    return ProofImage("crowded scene", np.vstack(rows)), objects


@functools.lru_cache(maxsize=_SCENES)
def _scene(number: int) -> Scene:
    return draw_scene(_FIRST_SEED + number, image_wh=_SCENE_WH, objects=_SCENE_OBJECTS)
