"""From an image to the network's input and back: scaled to fit, the rest filled with grey.

The same numbers as Ultralytics' `LetterBox` and `scale_boxes` (tests hold them against each other).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

LETTERBOX_VALUE = 114
"""Grey of the pixels around the image."""


class Letterbox(NamedTuple):
    """How images of one shape go into the input.

    Attributes:
        image_hw: height and width of the image in pixels.
        scaled_hw: what they are scaled to.
        top, bottom, left, right: pixels filled up on each side.
    """

    image_hw: tuple[int, int]
    scaled_hw: tuple[int, int]
    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(
        cls, image_hw: tuple[int, int], input_hw: tuple[int, int], stride: int | None = None
    ) -> Letterbox:
        """Return how an image goes into an input, in its middle.

        Args:
            image_hw: height and width of the image in pixels.
            input_hw: height and width of the input in pixels.
            stride: fill up only to the next multiples of it, so that the input may be smaller;
                None to fill all of it.
        """
        scale = min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1])
        height, width = (max(round(side * scale), 1) for side in image_hw)
        spare_y, spare_x = input_hw[0] - height, input_hw[1] - width
        if stride:
            spare_y, spare_x = spare_y % stride, spare_x % stride
        (top, bottom), (left, right) = (
            (round(spare / 2 - 0.1), round(spare / 2 + 0.1)) for spare in (spare_y, spare_x)
        )
        return cls(image_hw, (height, width), top, bottom, left, right)

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of what `apply` returns."""
        height, width = self.scaled_hw
        return height + self.top + self.bottom, width + self.left + self.right

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the image (H, W, 3) uint8 as it goes into the input."""
        if self.scaled_hw != self.image_hw:
            image = cv2.resize(image, self.scaled_hw[::-1], interpolation=cv2.INTER_LINEAR)
        if self.input_hw == self.scaled_hw:
            return image
        margins = (self.top, self.bottom, self.left, self.right)
        return cv2.copyMakeBorder(
            image, *margins, cv2.BORDER_CONSTANT, value=(LETTERBOX_VALUE,) * 3
        )

    def to_image(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Return boxes (N, 4) in pixels of the input as those of the image, cut off at its border.

        Like Ultralytics, this takes the scale from the sizes of image and input again: where a side
        was rounded down to just a multiple of the stride it is not that of `apply`, and the other
        side comes out up to a pixel of the input smaller.

        Args:
            boxes_xyxy: float32.
        """
        (height, width), (input_h, input_w) = self.image_hw, self.input_hw
        scale = min(input_h / height, input_w / width)
        scaled_h, scaled_w = (max(round(side * scale), 1) for side in self.image_hw)
        left, top = (
            round((side - scaled) / 2 - 0.1)
            for side, scaled in ((input_w, scaled_w), (input_h, scaled_h))
        )
        offsets = np.array([left, top] * 2, np.float32)
        scales = np.array([scaled_w / width, scaled_h / height] * 2, np.float32)
        return np.clip(
            (boxes_xyxy - offsets) / scales, 0, np.array([width, height] * 2, np.float32)
        )
