"""What `Detector` takes from Python code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from yolo_ema.detect.inputs import readable_frames
from yolo_ema.io.image_header import LARGEST_PIXELS


def test_an_image_that_may_not_be_read_ends_no_list(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        assert cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    read = Path.read_bytes

    def refuses(path: Path) -> bytes:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuses)
    problems: list[str] = []
    frames = list(readable_frames(paths, LARGEST_PIXELS, problems))
    assert [index for index, _ in frames] == [0, 2]
    assert problems == [f"image 1: {paths[1]} cannot be read: permission denied"]
