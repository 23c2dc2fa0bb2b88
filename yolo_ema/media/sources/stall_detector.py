"""Whether an image still moves: a camera that hangs goes on sending the last one."""

from __future__ import annotations

import numpy as np

__all__ = ["StallDetector"]

_STRIDE = 4
_SAME_WITHIN_LEVELS = (
    2  # an encoder does not give a frozen image back as the very same bits each time
)


class StallDetector:
    """Since when a source has shown one image.

    Every fourth pixel of every fourth row is compared with the image since which nothing has
    changed: slow changes add up.
    """

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None
        self.changed_at: float | None = None

    def look(self, image_bgr: np.ndarray, now_s: float) -> None:
        """Take note of an image, (H, W, 3) uint8, that came at ``now_s``."""
        sample = image_bgr[::_STRIDE, ::_STRIDE, 1].astype(np.int16)
        known = self._reference
        if (
            known is None
            or known.shape != sample.shape
            or np.abs(sample - known).max() > _SAME_WITHIN_LEVELS
        ):
            self._reference, self.changed_at = sample, now_s

    def postpone(self, seconds: float) -> None:
        """Leave a time out of account."""
        if self.changed_at is not None:
            self.changed_at += seconds

    def restart(self, now_s: float) -> None:
        """A new connection: the image counts as fresh."""
        self._reference, self.changed_at = None, now_s
