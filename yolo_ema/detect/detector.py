"""`Detector`: boxes from arrays, files, folders, videos, cameras and streams."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_ema.detect.frame_loop import (
    FRAME_RATE,
    DetectedEvent,
    Remarks,
    as_detections,
    as_results,
    detect_events,
    loss_in,
    speed_of,
)
from yolo_ema.detect.inputs import Image, Place, frame_of, open_events, readable_frames
from yolo_ema.detect.predictors import Opener, apply_settings, open_tiled
from yolo_ema.errors import (
    PartialResultsError,
    SourceError,
    WeightsNotFoundError,
)
from yolo_ema.io.devices import torch_is_installed
from yolo_ema.io.resources import weights_dir
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.options.detector import DetectorConfig

if TYPE_CHECKING:
    from yolo_ema.engine.prediction.results import Results

__all__ = ["DEFAULT_WEIGHTS", "Detector", "default_weights"]

DEFAULT_WEIGHTS = "yolo11n-ema-visdrone.pt"

Convert = Callable[[FrameDetections, dict[str, float]], Any]
"""From detections, and the milliseconds that they took by stage, to what is returned."""


def default_weights() -> Path:
    """Return the shipped weights: the ``.pt``, or its ONNX file where torch is not installed.
    Raises `WeightsNotFoundError` where they are not shipped.
    """
    path = weights_dir() / DEFAULT_WEIGHTS
    if not torch_is_installed():
        path = path.with_suffix(".onnx")
    if not path.is_file():
        raise WeightsNotFoundError(
            f"no weights are given, and {path.name} is not installed; train some with "
            f"'yolo-ema train', then name them with --weights"
        )
    return path


class Detector:
    """Finds objects in drone footage.

    `detect` and `stream` give Ultralytics' `Results`, for which they load torch; `detections` and
    `stream_detections` give the same as numpy arrays (`FrameDetections`), and with an ONNX,
    OpenVINO or ncnn file need neither torch nor Ultralytics.

    Several threads may share a detector; calls wait for each other. It can be pickled: the copy
    reopens the weights. A forked child cannot use its parent's, unless that computes with one
    thread.

    Attributes:
        config: what it was made with, and what was changed since.
        weights: the file it was opened from.
        predictor: the network with its tiles.

    Examples:
        >>> from yolo_ema import Detector
        >>> detector = Detector("best.pt", conf=0.3, tile="off")
        >>> results = detector.detect("junction.jpg")  # Ultralytics Results
        >>> results.boxes.xyxy.shape[1]
        4
        >>> tracker = Detector("best.onnx", track=True)  # without torch
        >>> for detections in tracker.stream_detections("flight.mp4"):
        ...     found = detections.boxes_xyxy, detections.scores, detections.track_ids
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        config: DetectorConfig | None = None,
        **settings: Any,
    ) -> None:
        """Load the weights.

        Args:
            weights: a ``.pt`` or an exported file, or the name of shipped ones; None takes the
                shipped ones, as ONNX where torch is not installed.
            config: all settings in one object, such as the options of ``yolo-ema detect``.
            **settings: fields of `DetectorConfig`, each as the option of ``yolo-ema detect`` with
                that name:

                tile: ``auto``, ``off``, or width and height of the tiles in pixels, as (640, 640)
                    or ``"640x640"``.
                overlap: minimum overlap of neighbouring tiles as a share of the tile, 0…0.9.
                whole_frame: also run the whole frame, for objects larger than the overlap; None
                    for yes.
                merge: how the boxes of the tiles are merged, see `yolo_ema.tiling.merge`.
                augment: run images mirrored and enlarged as well.
                track: give objects of a stream identities that last; see `stream`.
                tracker: ``drone``, or a tracker of Ultralytics such as ``bytetrack``.
                follow_camera: with ``track``, take the camera's own motion out before matching.
                imgsz: input size in pixels, one number or (height, width); None takes the weights'
                    own, or what ``tile="auto"`` chooses.
                conf: lowest score to keep, 0…1; None for what the weights recommend, or 0.25.
                iou: overlap above which the weaker of two boxes of a class is dropped, 0…1; None
                    for what the weights recommend, or 0.7.
                max_det: maximum objects per image.
                nms_groups, group_iou: of overlapping boxes of these classes, as in
                    ``["car,van,truck,bus"]``, only the strongest stays, whatever its class.
                classes: only these classes, by name; empty for all.
                device: ``auto``, ``cpu``, ``cuda`` or a GPU's number.
                half: half precision, on a GPU.
                max_pixels: refuse images with more pixels before decoding them.
                vid_stride: in `stream`, take frames 0, N, 2N, … of a video or live source.
                start, end: in `stream`, begin and end so many seconds into each video.
                trust: load weights although they carry code.

                ``conf``, ``iou``, ``max_det`` and ``classes`` can also be set later, and hold from
                the next frame on.

        Raises:
            WeightsError: the weights are missing, damaged, foreign, or carry code.
            ConfigError: a setting is of the wrong type or out of its range, or the weights do not
                know a class.
        """
        if weights is not None:
            settings["weights"] = weights
        config = config or DetectorConfig()
        self.config = config = replace(config, **settings) if settings else config
        self.weights = config.weights or default_weights()
        self.predictor = open_tiled(self.weights, config)
        self._opener = Opener()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), config=self.config), ()

    @property
    def names(self) -> dict[int, str]:
        """The classes of the weights, by id."""
        return self.predictor.names

    @property
    def wanted_names(self) -> dict[int, str]:
        """The classes that may be found: all, or those that were asked for."""
        ids = self.predictor.settings.classes
        return self.names if ids is None else {number: self.names[number] for number in ids}

    @property
    def conf(self) -> float:
        """Lowest score to keep, 0…1."""
        return self.predictor.settings.conf

    @conf.setter
    def conf(self, value: float) -> None:
        self._change(conf=value)

    @property
    def iou(self) -> float:
        """Overlap above which the weaker of two boxes of a class is dropped, 0…1."""
        return self.predictor.settings.iou

    @iou.setter
    def iou(self, value: float) -> None:
        self._change(iou=value)

    @property
    def max_det(self) -> int:
        """Maximum objects per image; fewer than set where an exported file holds fewer, which its
        first frame shows.
        """
        return self.predictor.max_det

    @max_det.setter
    def max_det(self, value: int) -> None:
        self._change(max_det=value)

    @property
    def classes(self) -> tuple[str, ...]:
        """Only these classes, by name; empty for all."""
        return self.config.classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        self._change(classes=names)

    def _change(self, **values: Any) -> None:
        config = replace(self.config, **values)
        apply_settings(self.predictor, config)
        self.config = config

    def plan(self, image_wh: tuple[int, int]) -> str:
        """Say in a sentence how frames of this width and height in pixels go through the network,
        whole or in tiles, and why.
        """
        return self.predictor.plan(image_wh).reason

    def detect(self, image: Image | Sequence[Image]) -> Results | list[Results]:
        """Detect on an array, (H, W, 3) uint8 BGR, a path, or a list of these; a list gives a list.

        Raises:
            SourceError: an image cannot be read, or an array has another shape or type. In a list
                such an image does not stop the others: the error is a `PartialResultsError`, raised
                at the end; it names every image that failed and holds the results of the others.
            MachineError: this process is a fork of the one that opened the detector; or torch is
                not installed.
        """
        return self._detect(image, as_results)

    def detections(self, image: Image | Sequence[Image]) -> FrameDetections | list[FrameDetections]:
        """Do what `detect` does, with numpy arrays as the result.

        Examples:
            >>> from yolo_ema import Detector
            >>> detections = Detector("best.onnx").detections("junction.jpg")
            >>> detections.boxes_xyxy.shape[1], len(detections.scores) == len(detections.class_ids)
            (4, True)
        """
        return self._detect(image, lambda detections, speed_ms: detections)

    def _detect(self, image: Image | Sequence[Image], convert: Convert) -> Any:
        self._opener.check()
        if isinstance(image, str | bytes) or not isinstance(image, Sequence):
            return self._converted([frame_of(image, self.config.max_pixels)], convert)[0]
        results: list[Any] = [None] * len(image)
        problems: list[str] = []
        frames = readable_frames(image, self.config.max_pixels, problems)
        for size, group in itertools.groupby(frames, lambda pair: pair[1].image_wh):
            while batch := list(itertools.islice(group, self.predictor.at_once(size))):
                batch_results = self._converted([frame for _, frame in batch], convert)
                for (index, _), result in zip(batch, batch_results, strict=True):
                    results[index] = result
        if problems:
            raise PartialResultsError(
                f"{len(problems)} of {len(image)} images failed: {'; '.join(problems)}; the others "
                f"are in this error's list `results`",
                results,
            )
        return results

    def _converted(self, frames: Sequence[Frame], convert: Convert) -> list[Any]:
        boxes = self.predictor([frame.image_bgr for frame in frames])
        speed_ms = speed_of(self.predictor, len(frames))
        per_frame = as_detections(frames, boxes, self.names)
        return [convert(detections, speed_ms) for detections in per_frame]

    def stream(
        self,
        source: Place | Iterable[Place] | Iterable[np.ndarray],
        *,
        every_frame: bool = False,
        fps: float = FRAME_RATE,
    ) -> Iterator[Results]:
        """Yield one result per frame of videos, cameras, network streams, images, folders, patterns
        or arrays.

        Reading runs ahead in threads of its own. Several live sources take turns, each with its
        newest frame. With ``track``, ``boxes.id`` holds the identities, −1 where an object has none
        yet; each source has identities of its own.

        Args:
            source: one source or several, a camera's number may be an int; or the frames of one
                source, arrays (H, W, 3) uint8 BGR in a list or a generator. A generator's frames
                are taken and detected one at a time, in the calling thread.
            every_frame: take every frame of live sources instead of the newest.
            fps: frames per second of arrays and, with ``track``, of a folder of images, which then
                is one sequence.

        A lost connection, a stale image, damaged frames and the like are given as warnings.

        Raises:
            SourceError: a source cannot be opened or read; with several, when the others have
                ended.
            MachineError: this process is a fork of the one that opened the detector.
        """
        events = self._stream(source, every_frame=every_frame, fps=fps)
        for event, detections, _, speed_ms in events:
            if detections is not None:
                image = event.source.image_of(detections.frame.index)
                yield as_results(detections, speed_ms, path=(image or event.source).name)

    def stream_detections(
        self,
        source: Place | Iterable[Place] | Iterable[np.ndarray],
        *,
        every_frame: bool = False,
        fps: float = FRAME_RATE,
    ) -> Iterator[FrameDetections]:
        """Do what `stream` does, with numpy arrays as the results.

        Examples:
            >>> from yolo_ema import Detector
            >>> detector = Detector("best.onnx", track=True)
            >>> for detections in detector.stream_detections("flight.mp4"):
            ...     boxes, track_ids = detections.boxes_xyxy, detections.track_ids
        """
        for _, detections, *_ in self._stream(source, every_frame=every_frame, fps=fps):
            if detections is not None:
                yield detections

    def _stream(self, source: Any, *, every_frame: bool, fps: float) -> Iterator[DetectedEvent]:
        failed: list[str] = []
        remarks = Remarks()
        with open_events(source, self.config, every_frame=every_frame, fps=fps) as events:
            for detected in self.detect_events(events):
                yield detected
                event = detected.event
                notices = remarks.of(event)
                if event.ended and event.problem:
                    failed.append(event.problem)
                elif notice := event.problem or (event.ended and loss_in(event)):
                    notices.append(notice)
                for notice in notices:
                    warnings.warn(notice, stacklevel=3)  # at the caller of `stream`
        if failed:
            raise SourceError("; ".join(failed))

    def detect_events(self, events: Iterable[SourceEvent]) -> Iterator[DetectedEvent]:
        """Return each event with what is detected in its frame, see `detect_events`."""
        self._opener.check()
        return detect_events(self.predictor, self.config, events)
