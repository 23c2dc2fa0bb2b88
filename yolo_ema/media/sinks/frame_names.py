"""What the files of one frame are called."""

from __future__ import annotations

from yolo_ema.media.frames import Frame
from yolo_ema.media.sinks.contract import FrameContext

__all__ = ["frame_stem"]


def frame_stem(frame: Frame, context: FrameContext) -> str:
    """Return the stem of a picture, or of a video's frame with its 0-based number:
    ``clip_000012``.
    """
    if context.picture:
        return context.picture_stem
    return f"{context.stem}_{frame.index:06d}" if context.is_moving else context.stem
