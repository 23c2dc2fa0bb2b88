"""What ``detect`` does with the objects of a frame once they are found: count, draw, write,
show.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.media.drawing.annotator import Overlay, draw_detections
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.live_page import LivePage
from yolo_ema.media.sinks import Crops, FrameContext, Sink, open_sinks
from yolo_ema.media.sources.source import SourceEvent, SourceStatus
from yolo_ema.options.detect import DetectOptions
from yolo_ema.tracking.counting import Anchor, Counter, CountLine, Zone
from yolo_ema.tracking.trails import Trails

__all__ = ["DetectOutput"]

_STATUS_EVERY_S = 0.5
TOKEN_VARIABLE = "YOLO_EMA_TOKEN"  # noqa: S105 - the name of the variable, not a token


_Shapes = tuple[list[CountLine], list[Zone]]


class _Scene:
    """What is remembered of a source from frame to frame: trails and counts."""

    def __init__(
        self,
        options: DetectOptions,
        shapes: _Shapes,
        image_wh: tuple[int, int],
        names: dict[int, str],
    ) -> None:
        self._trails = Trails(options.trails)
        self._on_ground = options.count_on == "ground"
        anchor: Anchor = "bottom" if options.count_at == "bottom" else "centre"
        self.counter = Counter(*shapes, image_wh=image_wh, names=names, anchor=anchor)
        self._image_wh = image_wh
        self.ways: dict[int, np.ndarray] = {}

    def take(self, found: FrameDetections, homography: np.ndarray | None) -> None:
        if found.track_ids is not None:
            resized = self._resized(found.frame.image_wh)
            if resized is not None:
                homography = resized if homography is None else homography @ resized
            self.ways = self._trails.update(
                found.frame.time_s, found.boxes_xyxy, found.track_ids, homography
            )
            followed = homography if self._on_ground else resized
            self.counter.update(found.boxes_xyxy, found.class_ids, found.track_ids, followed)

    def _resized(self, image_wh: tuple[int, int]) -> np.ndarray | None:
        """Return (3, 3) from pixels of the last frame to those of this one where a stream changed
        its size; else None.
        """
        before, self._image_wh = self._image_wh, image_wh
        return (
            None
            if before == image_wh
            else np.diag([image_wh[0] / before[0], image_wh[1] / before[1], 1.0])
        )

    def totals(self) -> dict[str, int]:
        """Return how many crossed each line and are in each zone, by a short label."""
        counts = self.counter.as_json()
        crossed = {
            f"{name} {way}": sum(each.values())
            for name, ways in counts["lines"].items()
            for way, each in ways.items()
        }
        return crossed | {
            f"{name} now": sum(zone["now"].values()) for name, zone in counts["zones"].items()
        }

    def overlays(self) -> list[Overlay]:
        return [Overlay(kind, points, label) for kind, points, label in self.counter.overlays]


class DetectOutput:
    """Takes what was found, frame by frame, in a thread of its own, and hands it to all that was
    asked for.

    Attributes:
        picture: the last annotated frame, (H, W, 3) uint8 BGR, where a window wants it.
    """

    def __init__(
        self,
        options: DetectOptions,
        out: Path,
        names: dict[int, str],
        status: Callable[[], Sequence[SourceStatus]],
    ) -> None:
        """Open the sinks and the page.

        Args:
            options: what is asked for.
            out: the folder for files.
            names: the classes that may be found.
            status: says how each source is doing; called from another thread.

        Raises:
            ConfigError: a line or zone that is none; a format that cannot hold the classes; a page
                whose address wants a token, or whose port is taken.
            DiskFullError: there is no room.
        """
        self.picture: np.ndarray | None = None
        self._options, self._status = options, status
        self._shapes: _Shapes = (
            [
                CountLine.from_text(text, f"line {number}")
                for number, text in enumerate(options.count_line, start=1)
            ],
            [
                Zone.from_text(text, f"zone {number}")
                for number, text in enumerate(options.zone, start=1)
            ],
        )
        self._scenes: dict[str, _Scene] = {}
        self._drawn: tuple[FrameDetections, np.ndarray] | None = None
        self._page: LivePage | None = None
        self._counted: dict[str, dict[str, int]] = {}
        self._closing = threading.Event()
        self._reporter = threading.Thread(target=self._report, name="page status", daemon=True)
        self._sinks: dict[str, Sink] = {}
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)
            if options.serve is not None:
                token = options.serve_token or os.environ.get(TOKEN_VARIABLE) or None
                self._page = LivePage(options.serve, options.serve_host, token)
                print(f"yolo-ema: live page: {self._page.url}", file=sys.stderr, flush=True)  # noqa: T201 - not the result
            kinds = [kind for kind in dict.fromkeys(options.save) if kind != "none"]
            sinks = open_sinks(
                kinds,
                out,
                names=names,
                draw=self._draw,
                visdrone_names=VISDRONE_CLASSES,
                yolo_scores=options.yolo_scores,
                crop_limit=options.crop_limit,
            )
            self._sinks |= zip(kinds, sinks, strict=True)
            opened.pop_all()
        if self._page is not None:
            self._reporter.start()

    def take(self, item: tuple[SourceEvent, FrameDetections | None, np.ndarray | None]) -> None:
        """Take an event of the feeds, what was found in its frame, and how the camera moved since
        the last one: (3, 3), or None.
        """
        event, found, homography = item
        if found is not None:
            self._take_frame(event, found, homography)
        if event.ended:
            for sink in self._sinks.values():
                sink.end_source(event.source.name)

    def _take_frame(
        self, event: SourceEvent, found: FrameDetections, homography: np.ndarray | None
    ) -> None:
        name = event.source.name
        if self._options.tracks and event.source.is_video:
            if name not in self._scenes:
                self._scenes[name] = _Scene(
                    self._options, self._shapes, found.frame.image_wh, found.names
                )
            self._scenes[name].take(found, homography)
            if self._page is not None:
                self._counted = self._counted | {
                    name: self._scenes[name].totals()
                }  # a new one: another thread reads it
        frame_rate = event.reader.frame_rate if event.reader else None
        picture = event.source.image_of(found.frame.index)
        about = (picture.name, picture.stem) if picture else ("", "")
        context = FrameContext(frame_rate, event.source.stem, event.source.is_live, *about)
        for sink in self._sinks.values():
            sink.write(found, context)
        if self._page is not None:
            self._page.publish(found, self._draw(found))
        if self._options.show:
            self.picture = self._draw(found)

    def _draw(self, found: FrameDetections) -> np.ndarray:
        """Return the annotated frame, drawn once for all that want it."""
        if self._drawn is None or self._drawn[0] is not found:
            scene = self._scenes.get(found.frame.source)
            picture = (
                draw_detections(found, trails=scene.ways, overlays=scene.overlays())
                if scene
                else draw_detections(found)
            )
            self._drawn = (found, picture)
        return self._drawn[1]

    def _report(self) -> None:
        """Tell the page how the sources are doing, also while no frame comes."""
        while self._page is not None and not self._closing.wait(_STATUS_EVERY_S):
            counted = self._counted
            self._page.publish_status(
                [
                    asdict(status) | {"counts": counted.get(status.name, {})}
                    for status in self._status()
                ]
            )

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return what was counted, by source: identities by class, crossings, and what was in the
        zones.
        """
        return {name: scene.counter.as_json() for name, scene in self._scenes.items()}

    @property
    def crops_left_out(self) -> int:
        """How many objects got no picture of their own, because there are enough of them."""
        return sum(sink.left_out for sink in self._sinks.values() if isinstance(sink, Crops))

    def paths(self) -> dict[str, tuple[Path, ...]]:
        """Return what was written, by kind."""
        return {kind: tuple(sink.paths) for kind, sink in self._sinks.items()}

    def close(self) -> None:
        """Complete all files, each of them, even where one fails; end the page."""
        self._closing.set()
        if self._reporter.ident is not None:
            self._reporter.join()
        with contextlib.ExitStack() as stack:
            if self._page is not None:
                stack.callback(self._page.close)
            for sink in self._sinks.values():
                stack.callback(sink.close)
