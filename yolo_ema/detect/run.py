"""The ``detect`` verb: footage in; pictures, videos and lists of detections out."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import FrameType

import numpy as np
from tqdm import tqdm

from yolo_ema.detect.detector import Detector
from yolo_ema.detect.output import DetectOutput
from yolo_ema.detect.output_thread import OutputThread
from yolo_ema.detect.result import DetectResult, SourceSummary, most_frequent
from yolo_ema.detect.tracker import Tracker
from yolo_ema.engine.prediction.runtime import input_size
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.window import Window
from yolo_ema.media.sources.image_sequence import ImageSequence
from yolo_ema.media.sources.open_sources import NetworkOptions, Source, open_sources
from yolo_ema.media.sources.source_reader import SourceEvent, SourceReader
from yolo_ema.options.detect import DetectOptions

__all__ = ["detect", "fresh_folder"]

_FINEST_RATE = 1001
"""Rates are fractions with a denominator of no more: 29.97 frames a second and the like are
n/1001.
"""


def detect(options: DetectOptions) -> DetectResult:
    """Detect on every source and write what is asked for.

    Decoding, inference, and drawing with encoding go on side by side, each in a thread of its own.
    A source that fails is named in the result and does not stop the others. Ctrl-C and SIGTERM end
    the run with complete files; a second one ends it at once.

    Raises:
        SourceError: a source does not exist.
        WeightsError: the weights cannot be used.
        ConfigError: a class, line, zone or page that cannot be.
        DiskFullError: there is no room for what is written.
    """
    network = NetworkOptions(
        open_timeout_s=options.open_timeout,
        read_timeout_s=options.read_timeout,
        stale_after_s=options.stale_after,
        give_up_after_s=options.give_up_after,
        every_frame=options.every_frame,
        rtsp_transport=options.rtsp_transport,
    )
    rate = Fraction(options.fps).limit_denominator(_FINEST_RATE) if options.tracks else None
    sources = open_sources(
        options.source, max_pixels=options.max_pixels, network=network, sequence_rate=rate
    )
    if options.tracks:
        _say_how_pictures_are_tracked(sources, options)
    detector = _detector(options)
    run, feeds = (
        _Run(detector, sources, options),
        SourceReader(sources, every_frame=options.every_frame),
    )
    with (
        _out(options) as out,
        _ended_by_signals(
            feeds.stop
        ) as interrupted,  # outermost: closing the files is not to be cut short
        contextlib.closing(
            DetectOutput(options, out, detector.wanted_names, feeds.status)
        ) as output,
        _window(options) as window,
        feeds,
        OutputThread(output.take, on_error=feeds.stop) as thread,
    ):
        for item in run.detections(feeds):
            thread.put(item)
            if window is not None and not window.show(output.picture):
                feeds.stop()
    return run.result(out, output, interrupted=bool(interrupted))


def _say_how_pictures_are_tracked(sources: list[Source], options: DetectOptions) -> None:
    """Say that folders of pictures are taken as sequences where that was not asked for by its name,
    and what gets no identities.
    """
    sequences = [source for source in sources if isinstance(source, ImageSequence)]
    alone = [source.name for source in sources if not source.is_video]
    if sequences and not options.track:
        folders = _some([one.name for one in sequences])
        _say(
            f"identities are asked for: the pictures in {folders} are frames of a sequence, "
            f"{options.fps:g} a second (--fps)"
        )
    if alone:
        _say(
            f"no identities, counts or MOT files of {_some(alone)}: a picture that is alone in its "
            f"folder is no sequence"
        )


def _say(text: str) -> None:
    print(f"yolo-ema: {text}", file=sys.stderr)  # noqa: T201 - stdout is for the result


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextlib.contextmanager
def _out(options: DetectOptions) -> Iterator[Path]:
    """Yield the folder for what is written; one that was made for it goes where the run fails
    before anything is in it.
    """
    if options.out is not None or options.save == ("none",):
        yield options.out or Path()
        return
    folder = fresh_folder(Path("runs/detect"))
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only an empty one goes
        raise


@contextlib.contextmanager
def _window(options: DetectOptions) -> Iterator[Window | None]:
    """Open a window where one is wanted."""
    if not options.show:
        yield None
        return
    with contextlib.closing(Window("yolo-ema")) as window:
        yield window


def _detector(options: DetectOptions) -> Detector:
    return Detector(
        options.weights,
        tile=options.tile,
        overlap=options.overlap,
        whole_frame=options.whole_frame,
        merge=options.merge,
        track=options.tracks,
        tracker=options.tracker,
        follow_camera=options.follow_camera,
        imgsz=input_size(options.imgsz),
        conf=options.conf,
        iou=options.iou,
        max_det=options.max_det,
        classes=options.classes,
        device=options.device,
        half=options.half,
        max_pixels=options.max_pixels,
        trust=options.trust,
    )


class _Run:
    """Detects on what the feeds bring, and keeps the account."""

    def __init__(self, detector: Detector, sources: list[Source], options: DetectOptions) -> None:
        self._detector, self._tracks = detector, options.tracks
        self._trackers: dict[str, Tracker] = {}
        self._summaries = {
            source.name: SourceSummary(source.name, is_live=source.is_live) for source in sources
        }
        self._started: dict[str, float] = {}
        self._per_class: Counter[str] = Counter()
        self._tiling: dict[str, str] = {}
        self._progress = _progress(sources)

    def detections(
        self, feeds: SourceReader
    ) -> Iterator[tuple[SourceEvent, FrameDetections | None, np.ndarray | None]]:
        """Yield every event of the feeds, what was found in its frame, and the camera's motion to
        it where it is known.
        """
        with self._progress:
            for event, seen in self._detector.detect_events(feeds, before=self._announce):
                found = None if seen is None else self._count(event, seen)
                tracker = self._trackers.get(event.source.name)
                yield event, found, tracker.homography if tracker else None
                if event.ended:
                    self._end(event)
                elif event.problem:
                    self._progress.write(f"yolo-ema: {event.problem}", file=sys.stderr)
        for status in feeds.status():
            if status.name in self._summaries:
                summary = self._summaries[status.name]
                summary.frames_dropped, summary.reconnects = (
                    status.frames_dropped,
                    status.reconnects,
                )

    def _announce(self, event: SourceEvent) -> None:
        """Start the source's clock, and say how frames of this size are looked at."""
        self._started.setdefault(event.source.name, time.perf_counter())
        if event.frame is not None:
            self._say_tiling(event.frame.image_wh)

    def _count(self, event: SourceEvent, found: FrameDetections) -> FrameDetections:
        """Add a frame to the account, and return what was found in it with its identities."""
        name = event.source.name
        if self._tracks and event.source.is_video:
            rate = event.reader.frame_rate if event.reader else None
            found = self._detector.tracker(self._trackers, name, rate).update(found)
        summary = self._summaries[name]
        summary.frames += 1
        summary.objects += len(found)
        summary.seconds = time.perf_counter() - self._started[name]
        if len(found) >= self._detector.max_det:
            summary.reached_limit(found.frame.index)
        self._per_class.update(found.names[int(class_id)] for class_id in found.class_ids)
        if event.reader and len(self._summaries) == 1:
            self._progress.total = event.reader.frame_count
        self._progress.update()
        return found

    def _end(self, event: SourceEvent) -> None:
        damaged = event.reader.damaged_packets if event.reader else 0
        passed_over = (
            f"{event.source.name}: {damaged} damaged packets were passed over" if damaged else ""
        )
        self._summaries[event.source.name].problem = event.problem or passed_over
        self._trackers.pop(event.source.name, None)

    def _say_tiling(self, image_wh: tuple[int, int]) -> None:
        size = "{}x{}".format(*image_wh)
        if size not in self._tiling:
            self._tiling[size] = self._detector.plan(image_wh)
            self._progress.write(f"yolo-ema: {self._tiling[size]}", file=sys.stderr)

    def result(self, out: Path, output: DetectOutput, *, interrupted: bool) -> DetectResult:
        """Return the account."""
        for name, counts in output.counts().items():
            self._summaries[name].counts = counts
        return DetectResult(
            out,
            output.paths(),
            tuple(self._summaries.values()),
            most_frequent(self._per_class),
            self._tiling,
            interrupted,
            output.crops_left_out,
        )


def _progress(sources: list[Source]) -> tqdm:
    """Return a bar over frames, with a total where it is known without opening anything: for
    images.
    """
    total = None if any(source.is_video for source in sources) else len(sources)
    return tqdm(
        desc="detect", total=total, unit="frame", file=sys.stderr, disable=not sys.stderr.isatty()
    )


@contextlib.contextmanager
def _ended_by_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call ``stop`` at the first Ctrl-C or SIGTERM; a second one interrupts at once. Yields the
    signals that came.
    """
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fresh_folder(base: Path) -> Path:
    """Make and return ``base``, or ``base-2``, ``base-3``, … where it exists."""
    names = itertools.chain([base.name], (f"{base.name}-{number}" for number in itertools.count(2)))
    for name in names:
        folder = base.with_name(name)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable: the names have no end")
