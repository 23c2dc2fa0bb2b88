"""A desktop window that shows annotated frames."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np

from yolo_ema.errors import MachineError

_KEYS_TO_END = frozenset({ord("q"), 27})
_MOST_WH = (1600, 900)


class Window:
    """Shows one image after another; to be used from the thread that created it."""

    def __init__(self, title: str) -> None:
        """Open the window.

        Raises:
            MachineError: there is no desktop, or OpenCV was built without windows.
        """
        # Without a display OpenCV's window library ends the whole process, hence this check.
        if sys.platform.startswith("linux") and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise MachineError(
                "--show needs a desktop, and DISPLAY is not set; --serve PORT shows a web page "
                "instead"
            )
        self._title = title
        self._sized = False
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise MachineError(
                "--show needs an OpenCV with windows, and this one has none "
                "(opencv-python-headless); "
                "--serve PORT shows a web page instead"
            ) from error

    def show(self, image_bgr: np.ndarray | None) -> bool:
        """Show an image, (H, W, 3) uint8 BGR, or keep showing the last; return False once the user
        has closed the window or pressed q.
        """
        if image_bgr is not None:
            if not self._sized:
                height, width = image_bgr.shape[:2]
                scale = min(1.0, _MOST_WH[0] / width, _MOST_WH[1] / height)
                cv2.resizeWindow(
                    self._title, max(1, round(width * scale)), max(1, round(height * scale))
                )
                self._sized = True
            cv2.imshow(self._title, image_bgr)
        pressed = cv2.waitKey(1) & 0xFF
        return (
            pressed not in _KEYS_TO_END
            and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        )

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)
