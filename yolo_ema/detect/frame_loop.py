"""The loop over frames: from what sources bring to boxes with identities. `Detector.stream` and
``yolo-ema detect`` run the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from yolo_ema.detect.predictors import torch_needed
from yolo_ema.detect.tracker import Tracker
from yolo_ema.inference.predictor import Predictor
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.options.detector import DetectorConfig

if TYPE_CHECKING:
    from yolo_ema.engine.prediction.results import Results

FRAME_RATE = 30.0
"""Frames per second, where a source does not say."""


class DetectedEvent(NamedTuple):
    """What a source brought, and what was detected in it.

    Attributes:
        event: a frame, a notice, or the source's end.
        detections: those of the frame, with identities where tracked; None without a frame.
        homography: (3, 3) how the ground moved, from the source's last frame to this one; None
            where nothing is tracked.
        speed_ms: milliseconds of ``preprocess``, ``inference`` and ``postprocess``.
    """

    event: SourceEvent
    detections: FrameDetections | None
    homography: np.ndarray | None
    speed_ms: dict[str, float]


def detect_events(
    predictor: Predictor, config: DetectorConfig, events: Iterable[SourceEvent]
) -> Iterator[DetectedEvent]:
    """Yield each event, in order, with what is detected in its frame.

    Frames of one size that follow each other go through the network together where it runs several
    side by side; a frame of a live source waits for no other.
    """
    trackers: dict[str, Tracker] = {}
    for batch in _batches(predictor, events):
        frames = [event.frame for event in batch if event.frame is not None]
        boxes = predictor([frame.image_bgr for frame in frames]) if frames else []
        in_frames = iter(as_detections(frames, boxes, predictor.names))
        speed_ms = speed_of(predictor, len(frames))
        for event in batch:
            name, detections = event.source.name, None
            if event.frame is not None:
                detections = next(in_frames)
                if config.tracks and event.source.is_video:
                    if name not in trackers:
                        trackers[name] = _tracker_for(event, config)
                    detections = trackers[name].update(detections)
            homography = trackers[name].homography if name in trackers else None
            yield DetectedEvent(event, detections, homography, speed_ms)
            if event.ended:
                trackers.pop(name, None)


class Remarks:
    """What readers remark on their frames, each remark once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def of(self, event: SourceEvent) -> list[str]:
        """Return what is new with this event."""
        notes = event.reader.notes if event.reader else ()
        new = [f"{event.source.name}: {note}" for note in notes]
        new = [remark for remark in new if remark not in self._told]
        self._told.update(new)
        return new


def loss_in(event: SourceEvent) -> str:
    """Say at a source's end what could not be read of it; "" where nothing was lost."""
    return f"{event.source.name}: {event.reader.loss}" if event.reader and event.reader.loss else ""


def _batches(predictor: Predictor, events: Iterable[SourceEvent]) -> Iterator[list[SourceEvent]]:
    """Yield events in their order, those together whose frames share a call."""
    waiting: list[SourceEvent] = []
    for event in events:
        size = event.frame.image_wh if event.frame is not None else None
        if waiting and (
            size is None or waiting[0].frame is None or size != waiting[0].frame.image_wh
        ):
            yield waiting
            waiting = []
        waiting.append(event)
        if size is None or event.source.is_live or len(waiting) >= predictor.at_once(size):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _tracker_for(event: SourceEvent, config: DetectorConfig) -> Tracker:
    frame_rate = event.reader.frame_rate if event.reader else None
    return Tracker(
        preset=config.tracker,
        compensate_motion=config.follow_camera,
        frame_rate=float(frame_rate or FRAME_RATE),
    )


def as_detections(
    frames: Sequence[Frame], boxes: Sequence[np.ndarray], names: dict[int, str]
) -> list[FrameDetections]:
    """Return frames with their boxes as a predictor gives them, (N, 6) with score and class id."""
    return [
        FrameDetections(frame, rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), names)
        for frame, rows in zip(frames, boxes, strict=True)
    ]


def as_results(
    detections: FrameDetections, speed_ms: dict[str, float], *, path: str = ""
) -> Results:
    """Return detections as Ultralytics' `Results`, see `to_results`."""
    with torch_needed(
        "Ultralytics' Results",
        "or take Detector.detections and Detector.stream_detections, which give numpy arrays",
    ):
        from yolo_ema.engine.prediction.results import to_results

    return to_results(detections, speed_ms, path=path)


def speed_of(predictor: Predictor, frame_count: int) -> dict[str, float]:
    """Return the milliseconds that each stage of the last call took per frame."""
    return {
        stage: seconds * 1000 / max(frame_count, 1) for stage, seconds in predictor.seconds.items()
    }
