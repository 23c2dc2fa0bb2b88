"""Detections as Ultralytics' `Results`: what its own tools, supervision and others take."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from ultralytics.engine.results import Results

from yolo_ema.media.frames import FrameDetections

__all__ = ["Results", "to_results"]


def to_results(
    detections: FrameDetections, speed_ms: Mapping[str, float], *, path: str = ""
) -> Results:
    """Return the same boxes, scores, class ids and identities as `Results` on the CPU.

    Args:
        detections: of one frame.
        speed_ms: milliseconds of ``preprocess``, ``inference`` and ``postprocess``.
        path: the file that the frame comes from; "" for the frame's source.
    """
    columns = [detections.boxes_xyxy, detections.scores[:, None], detections.class_ids[:, None]]
    if detections.track_ids is not None:
        columns.insert(1, detections.track_ids[:, None])
    rows = np.concatenate(columns, axis=1).astype(np.float32)
    return Results(
        orig_img=detections.frame.image_bgr,
        path=path or detections.frame.source,
        names=detections.names,
        boxes=torch.from_numpy(rows),
        speed=dict(speed_ms),
    )
