"""A part of an image that goes through the network, and the way back to the image's pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from yolo_ema.inference.letterbox import Letterbox

Box = tuple[int, int, int, int]


class View(NamedTuple):
    """A part of an image that goes through the network.

    Attributes:
        image: its number in the call.
        xyxy: the part, x1 y1 x2 y2 in pixels, half open.
        max_det: maximum boxes; None for the predictor's own limit.
        input_hw: height and width of the network's input in pixels.
        mirrored: left and right change places.
    """

    image: int
    xyxy: Box
    max_det: int | None
    input_hw: tuple[int, int]
    mirrored: bool = False

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the part in pixels of the image."""
        x1, y1, x2, y2 = self.xyxy
        return y2 - y1, x2 - x1

    def kind(self) -> tuple[int, int, bool, tuple[int, int]]:
        """Return what views of one chunk have in common: height, width, whether they have the
        predictor's own limit, and the input.
        """
        return *self.image_hw, self.max_det is None, self.input_hw

    def network_pixels(self, stride: int | None) -> int:
        """Return how many pixels of input it is for the network, filled up to multiples of
        ``stride``, or to the whole input where that is None.
        """
        return math.prod(Letterbox.of(self.image_hw, self.input_hw, stride).input_hw)

    def pixels_of(self, image_bgr: np.ndarray) -> np.ndarray:
        """Return the part of the image that goes through the network."""
        x1, y1, x2, y2 = self.xyxy
        crop = image_bgr[y1:y2, x1:x2]
        return np.ascontiguousarray(crop[:, ::-1]) if self.mirrored else crop

    def to_image(self, rows: np.ndarray) -> np.ndarray:
        """Return boxes (N, 6), found in those pixels, in pixels of the image."""
        x1, y1, x2, _ = self.xyxy
        if self.mirrored:
            rows = rows.copy()
            rows[:, [0, 2]] = (x2 - x1) - rows[:, [2, 0]]
        return rows + np.array([x1, y1, x1, y1, 0, 0], np.float32)
