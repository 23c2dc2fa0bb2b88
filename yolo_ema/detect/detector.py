"""`Detector`: boxes from arrays, files, folders, videos, cameras and streams, as Ultralytics
`Results`.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from ultralytics.engine.results import Results

from yolo_ema.detect.tracker import Tracker
from yolo_ema.engine.prediction.runtime import Runtime
from yolo_ema.errors import ConfigError, SourceError, WeightsNotFoundError, did_you_mean
from yolo_ema.inference.tiled import TiledRuntime
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.io.resources import weights_dir, weights_path
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.open_sources import NetworkOptions, open_sources
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.media.sources.source_reader import SourceReader
from yolo_ema.options.tiles import tile_problems, tile_size

__all__ = ["DEFAULT_WEIGHTS", "Detector", "default_weights"]

DEFAULT_WEIGHTS = "yolo11n-ema-visdrone.pt"

Image = np.ndarray | str | Path
Place = str | Path | int
_FRAME_RATE = 30.0
"""Frames a second, where a source does not say."""


def default_weights() -> Path:
    """Return the shipped weights. Raises `WeightsNotFoundError` where none are shipped."""
    path = weights_dir() / DEFAULT_WEIGHTS
    if not path.is_file():
        raise WeightsNotFoundError(
            f"no weights are given, and {DEFAULT_WEIGHTS} is not installed; train some with "
            f"'yolo-ema train', "
            "then name them with --weights"
        )
    return path


class Detector:
    """Finds objects in drone footage.

    Example:
        >>> detector = Detector("best.pt")
        >>> results = detector.detect("junction.jpg")
        >>> results.boxes.xyxy, results.boxes.conf, results.boxes.cls
        >>> for results in Detector("best.pt", track=True).stream("rtsp://camera.local/stream"):
        ...     print(results.boxes.id)
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        tile: str | tuple[int, int] = "auto",
        overlap: float = 0.2,
        whole_frame: bool | None = None,
        merge: str = "nms",
        track: bool = False,
        tracker: str = "drone",
        follow_camera: bool = True,
        imgsz: int | tuple[int, int] | None = None,
        conf: float = 0.25,
        iou: float = 0.7,
        max_det: int = 1000,
        classes: Sequence[str] = (),
        device: str = "auto",
        half: bool = False,
        max_pixels: int = LARGEST_PIXELS,
        trust: bool = False,
    ) -> None:
        """Load the weights.

        Args:
            weights: a ``.pt`` or an exported file, or the name of shipped ones; None takes the
                shipped ones.
            tile: ``auto``, ``off``, or the width and height of tiles in pixels, as (640, 640) or
                ``"640x640"``.
            overlap: least overlap of neighbouring tiles as a share of the tile, 0…0.9.
            whole_frame: also look at the whole frame, for what is larger than a tile; None decides
                it as ``tile`` does.
            merge: how the tiles' boxes become one set, see `yolo_ema.tiling.merge`.
            track: give objects of a stream identities that last; see `stream`.
            tracker: how identities are kept: ``drone``, or a tracker of Ultralytics such as
                ``bytetrack``.
            follow_camera: with ``track``, take the camera's own motion out before matching.
            imgsz: input size in pixels, one number or (height, width); None takes the weights' own.
            conf: lowest score that counts, 0…1.
            iou: overlap above which the weaker of two boxes of a class is dropped, 0…1.
            max_det: most objects an image.
            classes: only these classes, by name; empty for all.
            device: ``auto``, ``cpu``, ``cuda`` or a GPU's number.
            half: half precision, on a GPU.
            max_pixels: refuse images with more pixels before decoding them.
            trust: load weights although they carry code.

        Raises:
            WeightsError: the weights are missing, damaged, foreign, or carry code.
            ConfigError: a class that the weights do not know, tiles that cannot be, a threshold or
                limit out of its range.
        """
        tile_word = "x".join(map(str, tile)) if isinstance(tile, tuple | list) else str(tile)
        if problems := list(tile_problems(tile_word, overlap)):
            raise ConfigError("; ".join(problems))
        self.weights = weights_path(weights) if weights is not None else default_weights()
        self.max_pixels, self.track, self._tracker, self._follow_camera = (
            max_pixels,
            track,
            tracker,
            follow_camera,
        )
        runtime = Runtime(
            self.weights,
            device=device,
            imgsz=imgsz,
            half=half,
            conf=conf,
            iou=iou,
            max_det=max_det,
            trust=trust,
        )
        runtime.classes = _ids_of(classes, runtime.names)
        tile_wh = tile_size(tile_word) or tile
        self._speed_ms: dict[str, float] = {}
        self.runtime = TiledRuntime(
            runtime, tile=tile_wh, overlap=overlap, whole_frame=whole_frame, merge=merge
        )

    @property
    def max_det(self) -> int:
        """The most objects an image; fewer than asked for where an exported file holds fewer, which
        its first frame shows.
        """
        return self.runtime.max_det

    @property
    def names(self) -> dict[int, str]:
        """The classes of the weights."""
        return self.runtime.names

    @property
    def wanted_names(self) -> dict[int, str]:
        """The classes that may be found: all, or those that were asked for."""
        wanted = self.runtime.classes
        return (
            self.names
            if wanted is None
            else {class_id: self.names[class_id] for class_id in wanted}
        )

    def plan(self, image_wh: tuple[int, int]) -> str:
        """Say in a sentence how frames of this width and height in pixels are looked at: in which
        tiles, and why.
        """
        return self.runtime.plan(image_wh).reason

    def detect(self, image: Image | Sequence[Image]) -> Results | list[Results]:
        """Detect on an array, (H, W, 3) uint8 BGR, a path, or a list of these; a list gives a list.

        Raises:
            SourceError: an image cannot be read, or an array has another shape or type.
        """
        if isinstance(image, str) or not isinstance(image, Sequence):
            return self._results(self.detect_frames([_frame_of(image, self.max_pixels)])[0])
        results = []
        frames = (_frame_of(one, self.max_pixels) for one in image)
        for size, alike in itertools.groupby(frames, lambda frame: frame.image_wh):
            while together := list(itertools.islice(alike, self.runtime.at_once(size))):
                results += [self._results(found) for found in self.detect_frames(together)]
        return results

    def stream(
        self, source: Place | Sequence[Place], *, every_frame: bool = False, fps: float = 30.0
    ) -> Iterator[Results]:
        """Yield one result a frame of videos, cameras, network streams, images, folders or
        patterns.

        Reading runs ahead in threads of its own. Several live sources take turns, each with its
        newest frame. With ``track``, ``boxes.id`` holds the identities, −1 where an object has none
        yet; each source has identities of its own.

        Args:
            source: one source or several; a camera's number may be an int.
            every_frame: of live sources take every frame, in place of the newest.
            fps: with ``track`` the pictures of a folder are one sequence of so many frames a
                second.

        A lost connection, a stale picture and the like are given as warnings.

        Raises:
            SourceError: a source cannot be opened or read; with several, when the others have
                ended.
        """
        given = [source] if isinstance(source, str | Path | int) else source
        sources = open_sources(
            [str(one) for one in given],
            max_pixels=self.max_pixels,
            network=NetworkOptions(every_frame=every_frame),
            sequence_rate=Fraction(fps).limit_denominator(1001) if self.track else None,
        )
        trackers: dict[str, Tracker] = {}
        failed: list[str] = []
        with SourceReader(sources, every_frame=every_frame) as feeds:
            for event, found in self.detect_events(feeds):
                if found is not None:
                    if self.track and event.source.is_video:
                        rate = event.reader.frame_rate if event.reader else None
                        found = self.tracker(trackers, event.source.name, rate).update(found)
                    picture = event.source.image_of(found.frame.index)
                    yield self._results(found, picture.name if picture else event.source.name)
                if event.problem and event.ended:
                    failed.append(event.problem)
                elif event.problem:
                    warnings.warn(event.problem, stacklevel=2)
        if failed:
            raise SourceError("; ".join(failed))

    def tracker(self, trackers: dict[str, Tracker], source: str, frame_rate: object) -> Tracker:
        """Return the tracker of a source out of ``trackers``, made where there is none yet."""
        if source not in trackers:
            rate = float(frame_rate) if frame_rate else _FRAME_RATE  # type: ignore[arg-type]
            trackers[source] = Tracker(
                preset=self._tracker, compensate_motion=self._follow_camera, frame_rate=rate
            )
        return trackers[source]

    def detect_events(
        self, events: Iterable[SourceEvent], *, before: Callable[[SourceEvent], None] | None = None
    ) -> Iterator[tuple[SourceEvent, FrameDetections | None]]:
        """Yield each event with what is found in its frame; None without a frame.

        Args:
            events: what sources bring.
            before: called with each event that has a frame, before it is looked at.
        """
        for together in self._groups(events):
            frames = [event.frame for event in together if event.frame is not None]
            if before:
                for event in together:
                    if event.frame is not None:
                        before(event)
            found = iter(self.detect_frames(frames))
            for event in together:
                yield event, next(found) if event.frame is not None else None

    def _groups(self, events: Iterable[SourceEvent]) -> Iterator[list[SourceEvent]]:
        """Yield events in their order, frames of one size together where workers look at them side
        by side.

        A frame of a live source waits for no other.
        """
        waiting: list[SourceEvent] = []
        for event in events:
            size = event.frame.image_wh if event.frame is not None else None
            if waiting and (
                size is None or waiting[0].frame is None or size != waiting[0].frame.image_wh
            ):
                yield waiting
                waiting = []
            waiting.append(event)
            if size is None or event.source.is_live or len(waiting) >= self.runtime.at_once(size):
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def detect_frames(self, frames: Sequence[Frame]) -> list[FrameDetections]:
        """Detect on frames; the arrays that the sinks write."""
        found = self.runtime([frame.image_bgr for frame in frames]) if frames else []
        self._speed_ms = {
            step: seconds * 1000 / max(len(frames), 1)
            for step, seconds in self.runtime.seconds.items()
        }
        return [
            FrameDetections(frame, rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), self.names)
            for frame, rows in zip(frames, found, strict=True)
        ]

    def _results(self, found: FrameDetections, path: str = "") -> Results:
        columns = [found.boxes_xyxy, found.scores[:, None], found.class_ids[:, None]]
        if found.track_ids is not None:
            columns.insert(1, found.track_ids[:, None])
        rows = np.concatenate(columns, axis=1).astype(np.float32)
        return Results(
            orig_img=found.frame.image_bgr,
            path=path or found.frame.source,
            names=found.names,
            boxes=torch.from_numpy(rows),
            speed=dict(self._speed_ms),
        )


def _frame_of(image: Image, max_pixels: int) -> Frame:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise SourceError(
                f"an array of shape {image.shape} and type {image.dtype} is given; expected (H, W, "
                f"3) uint8 in BGR order"
            )
        return Frame(image, "array", 0, 0.0)
    if not isinstance(image, str | Path):
        raise SourceError(
            f"a {type(image).__name__} is given; expected an array (H, W, 3) uint8 in BGR order, a "
            f"path, or a list of these"
        )
    sources = open_sources([str(image)], max_pixels=max_pixels)
    if len(sources) != 1 or sources[0].is_video:
        what = (
            sources[0].name
            if len(sources) == 1
            else f"{image}, which holds {len(sources)} images and videos,"
        )
        raise SourceError(
            f"{what} is not one image; use Detector.stream for folders, patterns, videos and live "
            f"sources"
        )
    return next(iter(sources[0].open()))


def _ids_of(classes: Sequence[str], names: dict[int, str]) -> list[int] | None:
    """Return the ids of class names, of every class that is called so; None where all are
    wanted.
    """
    if not classes:
        return None
    if isinstance(classes, str):
        raise ConfigError(
            f"classes is the text {classes!r}; expected a list of names, as in "
            f"{classes.split(',')!r}"
        )
    ids: dict[str, list[int]] = {}
    for class_id, name in names.items():
        ids.setdefault(name, []).append(class_id)
    unknown = [f"{name!r}{did_you_mean(str(name), ids)}" for name in classes if name not in ids]
    if unknown:
        raise ConfigError(
            f"the weights know no class {', '.join(unknown)}; they know {', '.join(names.values())}"
        )
    return [class_id for name in dict.fromkeys(classes) for class_id in ids[name]]
