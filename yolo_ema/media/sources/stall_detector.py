"""Notices images that no longer change: a camera that hangs keeps sending the last one."""

from __future__ import annotations

import numpy as np

_STRIDE = 4
_SAME_WITHIN_LEVELS = 2
"""An encoder does not return a frozen image as the very same bits each time."""


class StallDetector:
    """Knows since when a source has shown the same image.

    Every fourth pixel of every fourth row is compared with the image that was the last to differ,
    so that slow changes add up.

    Attributes:
        changed_at: when the image last changed, in seconds; None before the first image.
    """

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None
        self.changed_at: float | None = None

    def look(self, image_bgr: np.ndarray, now_s: float) -> None:
        """Take note of an image, (H, W, 3) uint8, that arrived at ``now_s``."""
        sample = image_bgr[::_STRIDE, ::_STRIDE, 1].astype(np.int16)
        known = self._reference
        if (
            known is None
            or known.shape != sample.shape
            or np.abs(sample - known).max() > _SAME_WITHIN_LEVELS
        ):
            self._reference, self.changed_at = sample, now_s

    def postpone(self, seconds: float) -> None:
        """Do not count a span of time."""
        if self.changed_at is not None:
            self.changed_at += seconds

    def restart(self, now_s: float) -> None:
        """Start over with a new connection: its first image counts as changed."""
        self._reference, self.changed_at = None, now_s
