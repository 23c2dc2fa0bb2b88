"""What ``yolo-ema detect`` does with the objects of a frame: count, draw, write, show."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.detect.frame_loop import DetectedEvent
from yolo_ema.errors import ConfigError
from yolo_ema.io.text_files import say
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.crops import Crops
from yolo_ema.media.sinks.open_sinks import open_sinks
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sources.source import SourceEvent, SourceStatus
from yolo_ema.options.detect import MAP_KINDS, DetectOptions
from yolo_ema.tracking.counting import Anchor, Counter
from yolo_ema.tracking.shapes import CountLine, Zone
from yolo_ema.tracking.trails import Trails

if TYPE_CHECKING:
    from yolo_ema.detect.live_places import LivePlaces, LocatedFrame
    from yolo_ema.detect.map_output import MapOutput
    from yolo_ema.detect.stored_places import StoredPlaces
    from yolo_ema.media.live_page.live_page import LivePage

_STATUS_EVERY_S = 0.5
TOKEN_VARIABLE = "YOLO_EMA_TOKEN"  # noqa: S105 - the name of the variable, not a token


Shapes = tuple[list[CountLine], list[Zone]]


class SourceState:
    """What is kept of a source from frame to frame: trails and counts.

    Attributes:
        counter: counts of lines and zones.
        trails: for each identity of the last seconds its centres, (M, 2) pixels, the newest last.

    Raises:
        ConfigError: a line or zone lies outside the image.
    """

    def __init__(
        self,
        options: DetectOptions,
        shapes: Shapes,
        image_wh: tuple[int, int],
        names: dict[int, str],
    ) -> None:
        self._recent = Trails(options.trails)
        self._on_ground = options.count_on == "ground"
        anchor: Anchor = "bottom" if options.count_at == "bottom" else "centre"
        self.counter = Counter(*shapes, image_wh=image_wh, names=names, anchor=anchor)
        self._image_wh = image_wh
        self.trails: dict[int, np.ndarray] = {}

    def update(self, detections: FrameDetections, homography: np.ndarray | None) -> None:
        """Take the next frame, and how the ground moved since the last one, (3, 3) or None."""
        if detections.track_ids is None:
            return
        frame = detections.frame
        resized = self._resized(frame.image_wh)
        if resized is not None:
            homography = resized if homography is None else homography @ resized
        boxes, track_ids = detections.boxes_xyxy, detections.track_ids
        self.trails = self._recent.update(frame.time_s, boxes, track_ids, homography)
        ground = homography if self._on_ground else resized
        self.counter.update(boxes, detections.class_ids, track_ids, ground)

    def _resized(self, image_wh: tuple[int, int]) -> np.ndarray | None:
        """Return (3, 3) from pixels of the last frame to those of this one where a stream changed
        its size; else None.
        """
        before, self._image_wh = self._image_wh, image_wh
        if before == image_wh:
            return None
        return np.diag([image_wh[0] / before[0], image_wh[1] / before[1], 1.0])

    def totals(self) -> dict[str, int]:
        """Return how many crossed each line and are in each zone, by a short label."""
        counts = self.counter.as_json()
        crossed = {
            f"{name} {direction}": sum(by_class.values())
            for name, directions in counts["lines"].items()
            for direction, by_class in directions.items()
        }
        return crossed | {
            f"{name} now": sum(zone["now"].values()) for name, zone in counts["zones"].items()
        }


def _shapes_of(options: DetectOptions) -> Shapes:
    lines, zones = enumerate(options.count_line, start=1), enumerate(options.zone, start=1)
    return (
        [CountLine.from_text(text, f"line {number}") for number, text in lines],
        [Zone.from_text(text, f"zone {number}") for number, text in zones],
    )


class DetectOutput:
    """Hands the detections, frame by frame, to all that was asked for. Runs in a thread of its own.

    Attributes:
        annotated_bgr: the last annotated frame, (H, W, 3) uint8, where a window shows it.
        map: what will be put on the map, where that is asked for.
        problems: by source, why nothing was counted there: a line or zone outside its image.
    """

    def __init__(
        self,
        options: DetectOptions,
        out: Path,
        names: dict[int, str],
        status: Callable[[], Sequence[SourceStatus]],
        *,
        all_names: dict[int, str] | None = None,
        stems: Sequence[str] = (),
        places: StoredPlaces | None = None,
    ) -> None:
        """Open the sinks and the page; ``names`` are the classes that may be found, ``all_names``
        those of the weights, ``status`` is called from another thread, ``places`` gives the objects
        of stored sources theirs, and ``stems`` are the sources' names for files.

        Raises:
            ConfigError: a line or zone that cannot be read; a format that cannot hold the classes;
                a page whose address needs a token, or whose port is taken; an address of live
                telemetry that cannot be opened.
            DiskFullError: there is no room.
        """
        self.annotated_bgr: np.ndarray | None = None
        self.map: MapOutput | None = None
        self.problems: dict[str, str] = {}
        self._options, self._status, self._has_several = options, status, len(stems) > 1
        self._shapes = _shapes_of(options)
        self._states: dict[str, SourceState] = {}
        self._drawn: tuple[FrameDetections, np.ndarray] | None = None
        self._page: LivePage | None = None
        self._places: LivePlaces | None = None
        self._stored_places = places
        self._totals: dict[str, dict[str, int]] = {}
        self._closing = threading.Event()
        self._reporter = threading.Thread(target=self._report, name="page status", daemon=True)
        self._sinks: dict[str, Sink] = {}
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)
            if options.serve is not None:
                from yolo_ema.media.live_page.live_page import LivePage  # brings an HTTP server

                token = options.serve_token or os.environ.get(TOKEN_VARIABLE) or None
                self._page = LivePage(options.serve, options.serve_host, token)
                say(f"yolo-ema: live page: {self._page.url}")
            kinds = [kind for kind in dict.fromkeys(options.save) if kind != "none"]
            maps = [kind for kind in kinds if kind in MAP_KINDS]
            kinds = [kind for kind in kinds if kind not in MAP_KINDS]
            sinks = open_sinks(
                kinds,
                out,
                names=names,
                all_names=all_names,
                draw=self._draw,
                visdrone_names=VISDRONE_CLASSES,
                yolo_scores=options.yolo_scores,
                crop_limit=options.crop_limit,
                stems=stems,
            )
            self._sinks |= zip(kinds, sinks, strict=True)
            if maps:
                from yolo_ema.detect.map_output import MapOutput

                self.map = MapOutput(out, maps, options, has_all_frames=options.end is None)
            if options.telemetry:
                from yolo_ema.detect.live_places import LivePlaces

                self._places = LivePlaces.listening(options)
            opened.pop_all()
        if self._page is not None:
            self._reporter.start()

    def write(self, detected: DetectedEvent) -> None:
        """Take the next event of a source with what was detected in its frame."""
        event, detections, homography, _ = detected
        if detections is not None:
            self._write_frame(event, detections, homography)
        if event.ended:
            for sink in self._sinks.values():
                sink.end_source(event.source.name)

    def _write_frame(
        self, event: SourceEvent, detections: FrameDetections, homography: np.ndarray | None
    ) -> None:
        name = event.source.name
        located: LocatedFrame | None = None
        if self._places is not None and event.source.is_live:
            located = self._places.locate(detections)
            detections = located.detections
        elif self._stored_places is not None:
            detections = self._stored_places.locate(detections)
        if self._options.tracks and event.source.is_video and name not in self.problems:
            self._track(name, detections, homography)
        reader, image = event.reader, event.source.image_of(detections.frame.index)
        context = FrameContext(
            reader.frame_rate if reader else None,
            event.source.stem,
            event.source.is_live,
            image_path=image.name if image else "",
            image_stem=image.stem if image else "",
            pixel_aspect=reader.pixel_aspect if reader else None,
        )
        for sink in self._sinks.values():
            sink.write(detections, context)
        if self.map is not None:
            self.map.write(detections, context, located.pose if located else None)
        if self._page is not None:
            self._page.publish(
                detections, self._draw(detections), located.on_map() if located else None
            )
        if self._options.show:
            self.annotated_bgr = self._draw(detections)

    def _track(self, name: str, detections: FrameDetections, homography: np.ndarray | None) -> None:
        """Update trails and counts of a source."""
        if name not in self._states:
            try:
                self._states[name] = SourceState(
                    self._options, self._shapes, detections.frame.image_wh, detections.names
                )
            except ConfigError as error:
                if not self._has_several:
                    raise
                self.problems[name] = f"nothing is counted in {name}: {error}"
                return
        state = self._states[name]
        state.update(detections, homography)
        if self._page is not None:
            # a new dictionary: another thread reads it
            self._totals = self._totals | {name: state.totals()}

    def _draw(self, detections: FrameDetections) -> np.ndarray:
        """Return the annotated frame, drawn once for all that want it."""
        if self._drawn is None or self._drawn[0] is not detections:
            state = self._states.get(detections.frame.source)
            image = (
                draw_detections(detections, trails=state.trails, overlays=state.counter.overlays)
                if state
                else draw_detections(detections)
            )
            self._drawn = (detections, image)
        return self._drawn[1]

    def _report(self) -> None:
        """Tell the page how the sources are doing, also while no frame comes."""
        while self._page is not None and not self._closing.wait(_STATUS_EVERY_S):
            totals = self._totals
            self._page.publish_status(
                [
                    asdict(status) | {"counts": totals.get(status.name, {})}
                    for status in self._status()
                ]
            )

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return counts by source: identities by class, crossings, and what was in the zones."""
        return {name: state.counter.as_json() for name, state in self._states.items()}

    @property
    def crops_left_out(self) -> int:
        """How many objects got no crop because --crop-limit was reached."""
        return sum(sink.left_out for sink in self._sinks.values() if isinstance(sink, Crops))

    def paths(self) -> dict[str, tuple[Path, ...]]:
        """Return what was written, by kind."""
        paths = {kind: tuple(sink.paths) for kind, sink in self._sinks.items()}
        return paths | (self.map.paths_by_kind if self.map is not None else {})

    def close(self) -> None:
        """Complete all files, each of them, even where one fails; end the page."""
        self._closing.set()
        if self._reporter.ident is not None:
            self._reporter.join()
        with contextlib.ExitStack() as stack:
            if self._page is not None:
                stack.callback(self._page.close)
            if self.map is not None:  # last: what it needs is all there
                stack.callback(self.map.close)
            for sink in self._sinks.values():
                stack.callback(sink.close)
            if self._places is not None:
                stack.callback(self._places.close)
