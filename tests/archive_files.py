"""What tests of archives share: weights that need no torch, short videos, images, and a run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from drawn_onnx import write_onnx

from yolo_ema.options.archive import ArchiveOptions

PER_FRAME = 2
"""How many objects the drawn weights find in every frame, whatever it shows."""


def record(
    path: Path,
    *,
    frames: int = 20,
    wh: tuple[int, int] = (96, 64),
    gop: int = 5,
    latin_title: str = "",
) -> Path:
    """Write a video of ten frames per second with a key frame at least every ``gop`` frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        if latin_title:
            container.metadata["title"] = latin_title
        stream = container.add_stream("libx264", rate=Fraction(10), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.gop_size = *wh, gop
        for number in range(frames):
            image = np.full((*wh[::-1], 3), number * 11 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def record_unknown(path: Path) -> Path:
    """Write a video whose header names a codec that nobody knows."""
    content = record(path).read_bytes()
    path.write_bytes(content.replace(b"avc1", b"zz\x01q"))
    return path


def draw(path: Path, seed: int = 0) -> Path:
    """Write a small image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), image)
    return path


def archive_options(root: Path, *sources: object, **more: object) -> ArchiveOptions:
    """Return options with weights and an output folder below ``root``."""
    weights = root / "drawn.onnx"
    if not weights.exists():
        write_onnx(weights)
    values = {"out": str(root / "out"), "weights": weights} | more
    return ArchiveOptions(source=tuple(map(str, sources)), **values)
