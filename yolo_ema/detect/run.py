"""The ``detect`` verb: footage in; annotated images, videos and lists of detections out."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from yolo_ema.detect.detector import Detector
from yolo_ema.detect.frame_loop import DetectedEvent, Remarks, loss_in
from yolo_ema.detect.inputs import selection_of
from yolo_ema.detect.output import DetectOutput
from yolo_ema.detect.output_thread import OutputThread
from yolo_ema.detect.result import DetectResult, SourceSummary, most_frequent
from yolo_ema.errors import MachineError, system_reason
from yolo_ema.io.signals import signals_handled
from yolo_ema.io.text_files import printable, say
from yolo_ema.media.frames import exact_rate
from yolo_ema.media.sinks.window import Window
from yolo_ema.media.sources.image_sequence import ImageSequence
from yolo_ema.media.sources.open_sources import (
    FoundSources,
    NetworkOptions,
    Source,
    find_sources,
)
from yolo_ema.media.sources.source import UnreadableSource
from yolo_ema.media.sources.source_reader import SourceEvent, SourceReader
from yolo_ema.options.detect import DetectOptions

if TYPE_CHECKING:
    from tqdm import tqdm

    from yolo_ema.detect.stored_places import StoredPlaces


def detect(
    options: DetectOptions,
    *,
    sources: Sequence[Source] | None = None,
    detector: Detector | None = None,
    places: StoredPlaces | None = None,
    quiet: bool = False,
) -> DetectResult:
    """Detect on every source and write what is asked for.

    Decoding, inference, and drawing with encoding run side by side, each in a thread of its own. A
    source that fails is named in the result and does not stop the others. Ctrl-C and SIGTERM end
    the run with complete files; a second one ends it at once.

    Args:
        options: on what, with what, how, and what to write.
        sources: found already, instead of those that ``options`` name.
        detector: loaded already, with the settings of ``options``.
        places: of stored sources' objects, which the files of detections then have.
        quiet: nothing to stderr, no progress bar.

    Raises:
        SourceError: a source does not exist.
        WeightsError: the weights cannot be used.
        ConfigError: an unknown class, a line, zone or page that cannot be.
        DiskFullError: there is no room for what is written.
    """
    scan = _find_sources(options) if sources is None else FoundSources(tuple(sources), ())
    sources = scan.sources
    if detector is None:
        detector = Detector(config=options)
        if options.weights is None and detector.weights.suffix != ".pt" and not quiet:
            _say(f"torch is not installed: detecting with the shipped {detector.weights.name}")
    selection = selection_of(options)
    if (aside := selection.left_aside(sources)) and not quiet:
        _say(aside)
    reader = SourceReader(sources, every_frame=options.every_frame, selection=selection)
    with (
        _out(options) as out,
        # outermost: closing the files is not to be cut short
        _ended_by_signals(reader.stop) as interrupted,
        contextlib.closing(
            DetectOutput(
                options,
                out,
                detector.wanted_names,
                reader.status,
                all_names=detector.names,
                stems=[source.stem for source in sources],
                places=places,
            )
        ) as output,
        (
            contextlib.closing(Window("yolo-ema")) if options.show else contextlib.nullcontext()
        ) as window,
        reader,
        OutputThread(output.write, on_error=reader.stop) as thread,
        _Account(detector, sources, quiet=quiet) as account,
    ):
        for detected in detector.detect_events(account.announced(reader)):
            account.add(detected)
            thread.put(detected)
            if window is not None and not window.show(output.annotated_bgr):
                reader.stop()
        account.add_live(reader)
    result = account.result(out, output, interrupted=bool(interrupted))
    return replace(result, left_out=scan.left_out)


def _find_sources(options: DetectOptions) -> FoundSources:
    network = NetworkOptions(
        open_timeout_s=options.open_timeout,
        read_timeout_s=options.read_timeout,
        stale_after_s=options.stale_after,
        give_up_after_s=options.give_up_after,
        every_frame=options.every_frame,
        rtsp_transport=options.rtsp_transport,
    )
    rate = exact_rate(options.fps) if options.tracks else None
    scan = find_sources(
        options.source, max_pixels=options.max_pixels, network=network, sequence_rate=rate
    )
    if options.tracks:
        _say_how_images_are_tracked(scan.sources, options)
    return scan


def _say_how_images_are_tracked(sources: Sequence[Source], options: DetectOptions) -> None:
    """Say which folders of images are taken as sequences, unless tracking was asked for by name,
    and which images cannot be tracked.
    """
    sequences = [source.name for source in sources if isinstance(source, ImageSequence)]
    single = [
        source.name
        for source in sources
        if not source.is_video and not isinstance(source, UnreadableSource)
    ]
    if sequences and not options.track:
        _say(
            f"tracking: the images in {_some(sequences)} are frames of a sequence, "
            f"{options.fps:g} per second (--fps)"
        )
    if single:
        _say(
            f"no identities, counts or MOT files for {_some(single)}: tracking needs at least two "
            f"images in the folder"
        )


def _say(text: str) -> None:
    say(f"yolo-ema: {text}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextlib.contextmanager
def _out(options: DetectOptions) -> Iterator[Path]:
    """Yield the folder for what is written; one made for this run is removed again if the run
    fails before anything is in it.
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


class _Account:
    """Keeps the account of a run, and shows its progress: a bar over frames, with a total where it
    is known without opening anything, as for images.
    """

    def __init__(self, detector: Detector, sources: Sequence[Source], *, quiet: bool) -> None:
        self._detector, self._quiet = detector, quiet
        self._summaries = {
            source.name: SourceSummary(source.name, is_live=source.is_live) for source in sources
        }
        self._started: dict[str, float] = {}
        self._per_class: Counter[str] = Counter()
        self._tiling: dict[str, str] = {}
        self._remarks = Remarks()
        total = None if any(source.is_video for source in sources) else len(sources)
        self._bar = _progress_bar(total) if not quiet and sys.stderr.isatty() else None

    def __enter__(self) -> _Account:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def announced(self, events: Iterable[SourceEvent]) -> Iterator[SourceEvent]:
        """Pass events on; at a source's first frame start its clock, and at each new size say how
        such frames are divided.
        """
        for event in events:
            if event.frame is not None:
                if not self._tiling:
                    self._say_precision()
                self._started.setdefault(event.source.name, time.perf_counter())
                size = "{}x{}".format(*event.frame.image_wh)
                if size not in self._tiling:
                    self._tiling[size] = self._detector.plan(event.frame.image_wh)
                    self._say(self._tiling[size])
            yield event

    def _say_precision(self) -> None:
        """Say where the runtime computes in another precision than the file's."""
        stored, _, computed = self._detector.predictor.precision.partition(" in ")
        if computed:
            self._say(f"{self._detector.weights.name}: {stored}, computed in {computed}")

    def add(self, detected: DetectedEvent) -> None:
        """Add a frame, a notice, or the end of a source."""
        event, detections, *_ = detected
        summary = self._summaries[event.source.name]
        if detections is not None:
            summary.frames += 1
            summary.objects += len(detections)
            summary.seconds = time.perf_counter() - self._started[event.source.name]
            if len(detections) >= self._detector.predictor.max_det_of(detections.frame.image_wh):
                summary.reached_limit(detections.frame.index)
            names = detections.names
            self._per_class.update(names[int(class_id)] for class_id in detections.class_ids)
            if self._bar is not None:
                if event.reader and len(self._summaries) == 1:
                    self._bar.total = event.reader.frame_count
                self._bar.update()
        for remark in self._remarks.of(event):
            self._say(remark)
        if event.ended:
            summary.problem = event.problem or loss_in(event)
            if event.reader is not None:
                summary.damaged = event.reader.damaged_packets
                summary.missing_frames = event.reader.missing_frames + event.reader.frames_in_holes
        elif event.problem:
            self._say(event.problem)

    def add_live(self, reader: SourceReader) -> None:
        """Add what became of live sources."""
        for status in reader.status():
            if summary := self._summaries.get(status.name):
                summary.frames_dropped = status.frames_dropped
                summary.reconnects = status.reconnects

    def result(self, out: Path, output: DetectOutput, *, interrupted: bool) -> DetectResult:
        """Return the account."""
        for name, counts in output.counts().items():
            self._summaries[name].counts = counts
        for name, problem in output.problems.items():
            self._summaries[name].problem = self._summaries[name].problem or problem
        for name, problem in (output.map.problems if output.map else {}).items():
            no_map = f"{name} is not on the map: {problem}"
            self._summaries[name].problem = self._summaries[name].problem or no_map
        return DetectResult(
            out,
            output.paths(),
            tuple(self._summaries.values()),
            most_frequent(self._per_class),
            self._tiling,
            interrupted,
            output.crops_left_out,
            flight=output.map.flight if output.map else None,
            thresholds={"conf": self._detector.conf, "iou": self._detector.iou},
            precision=self._detector.predictor.precision,
        )

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(f"yolo-ema: {printable(text)}", file=sys.stderr)
        elif not self._quiet:
            _say(text)


def _progress_bar(total: int | None) -> tqdm[NoReturn]:
    from tqdm import tqdm  # only here: it brings multiprocessing and the metadata of packages

    return tqdm(desc="detect", total=total, unit="frame", file=sys.stderr)


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

    with signals_handled(handle, signal.SIGINT, signal.SIGTERM):
        yield came


def fresh_folder(base: Path) -> Path:
    """Make and return ``base``, or ``base-2``, ``base-3``, … where it exists.

    Raises:
        MachineError: no folder can be made there.
    """
    names = itertools.chain([base.name], (f"{base.name}-{number}" for number in itertools.count(2)))
    try:
        # apart, since a dangling link of this name exists, too, under whatever number
        base.parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            folder = base.with_name(name)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        reason = system_reason(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file, or a link that leads nowhere, is in the way"
        raise MachineError(
            f"the folder {base} for what is written cannot be made: "
            f"{os.fsdecode(error.filename or base.parent)}: {reason}"
        ) from error
    raise AssertionError("unreachable: the names have no end")
