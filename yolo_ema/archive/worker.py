"""What every engine runs: one job after the other, with weights that stay loaded."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_ema.archive.job import DONE, FAILED, INCOMPLETE, UNDONE, Job, Outcome
from yolo_ema.archive.manifest import DETECTIONS, FILES, PROBLEMS, write_problem
from yolo_ema.archive.places import absolute, before_pattern
from yolo_ema.archive.remote import OF_ONE_FILE, fetch
from yolo_ema.archive.storage import open_storage
from yolo_ema.detect.detector import Detector, default_weights
from yolo_ema.detect.result import DetectResult
from yolo_ema.detect.run import detect
from yolo_ema.errors import (
    DeviceMemoryError,
    MachineError,
    SourceError,
    YoloEmaError,
    system_reason,
)
from yolo_ema.io.scratch_folders import scratch_folder
from yolo_ema.media.frames import exact_rate
from yolo_ema.media.sources.addresses import is_address
from yolo_ema.media.sources.image_sequence import ImageSequence
from yolo_ema.media.sources.output_names import with_output_names
from yolo_ema.media.sources.source import Source, UnreadableSource
from yolo_ema.media.sources.stored_source import StoredSource
from yolo_ema.options.archive import ArchiveOptions

if TYPE_CHECKING:
    from yolo_ema.detect.stored_places import StoredPlaces


class Worker:
    """Runs jobs and puts their results into the output folder."""

    def __init__(self, options: ArchiveOptions) -> None:
        """Load the weights.

        Raises:
            WeightsError: the weights cannot be used.
            ConfigError: they don't know a class, or a format cannot hold their classes.
        """
        self._options = options
        self._weights = options.weights or default_weights()
        self._storage = open_storage(options.out)
        self._detector = Detector(config=options.detect_options(Path(), self._weights))

    def run(self, job: Job, attempts: int = 0) -> Outcome:
        """Run a job. Whatever is wrong with it is in its outcome; what is in the way of others,
        too, makes it ``undone``, without a trace.

        ``attempts`` is how often the job has failed before.
        """
        began_at, outcome = time.perf_counter(), Outcome(job.id, job.name, FAILED)
        try:
            with scratch_folder("archive") as folder:
                stage = folder / "results"
                (folder / "sources").mkdir()
                sources = self._sources(job, folder / "sources")
                places = self._places(sources)
                result = self._detect(sources, places, stage)
                outcome = _outcome_of(job, result, places, attempts)
                if outcome.state in {DONE, INCOMPLETE}:
                    self._publish(outcome, stage, attempts)
        except (DeviceMemoryError, MemoryError, SourceError) as error:
            outcome = _failed(job, str(error) or type(error).__name__, attempts)
        except (YoloEmaError, OSError) as error:
            problem = f"{socket.gethostname()}: {error}"
            return Outcome(job.id, job.name, UNDONE, problem=problem)
        except Exception as error:  # a job never ends the others
            outcome = _failed(job, f"unexpected {type(error).__name__}: {error}", attempts)
        return dataclasses.replace(outcome, seconds=time.perf_counter() - began_at)

    def _detect(
        self, sources: Sequence[Source], places: StoredPlaces | None, stage: Path
    ) -> DetectResult:
        return detect(
            self._options.detect_options(stage, self._weights),
            sources=sources,
            detector=self._detector,
            places=places,
            quiet=True,
        )

    def _places(self, sources: Sequence[Source]) -> StoredPlaces | None:
        if not self._options.telemetry:
            return None
        from yolo_ema.detect.stored_places import StoredPlaces

        return StoredPlaces(sources, self._options)

    def _sources(self, job: Job, fetched: Path) -> Sequence[Source]:
        files = [self._source(file, job, fetched) for file in job.files]
        images = tuple(file for file in files if isinstance(file, StoredSource))
        if not job.is_sequence or len(images) < 2:
            return with_output_names(files)
        folder = job.files[0].rpartition("/")[0]
        rate = exact_rate(self._options.fps)
        missing = [file for file in files if not isinstance(file, StoredSource)]
        return [ImageSequence(images[0].path.parent, images, rate, given=folder), *missing]

    def _source(self, file: str, job: Job, fetched: Path) -> Source:
        """Return a file as a source; one at an address is fetched first."""
        limit = self._options.max_pixels
        if not is_address(file):
            if not os.path.exists(file):  # noqa: PTH110 - says no where it may not look
                self._check_its_folder(file)
            return StoredSource(Path(file), limit, span=job.span)
        try:
            return StoredSource(fetch(file, fetched), limit, given=file, span=job.span)
        except FileNotFoundError:
            return UnreadableSource(file, f"no file at {file}")
        except OF_ONE_FILE as error:
            return UnreadableSource(file, f"{file} cannot be read: {system_reason(error)}")

    def _check_its_folder(self, file: str) -> None:
        """Raise `MachineError` where a folder that was named as source, and held a file that is
        gone, is missing or empty, as the place of a disk that is not mounted.
        """
        for word in self._options.source:
            path = word.removeprefix("file://")
            if is_address(path):
                continue
            folder = Path(before_pattern(absolute(path)))
            if folder not in Path(file).parents:
                continue
            try:
                if any(folder.iterdir()):
                    continue
                problem = "is empty"
            except OSError as error:
                problem = f"cannot be read: {system_reason(error)}"
            raise MachineError(f"the source {folder} {problem}; is its disk mounted?")

    def _publish(self, outcome: Outcome, stage: Path, attempts: int) -> None:
        """Put the results of a job into the output folder, its detections last: where these are,
        everything is.
        """
        detections = (stage / "detections.parquet").rename(stage.with_name("detections.parquet"))
        if self._options.save:
            self._storage.put_folder(stage, f"{FILES}/{outcome.id}")
        if outcome.state == INCOMPLETE:
            write_problem(self._storage, outcome)
        self._storage.put_file(detections, f"{DETECTIONS}/{outcome.id}.parquet")
        if outcome.state == DONE and attempts:
            self._storage.remove(f"{PROBLEMS}/{outcome.id}.json")


def _outcome_of(
    job: Job, result: DetectResult, places: StoredPlaces | None, attempts: int
) -> Outcome:
    if result.interrupted:
        return Outcome(job.id, job.name, UNDONE, problem="interrupted")
    problems = [source.problem for source in result.sources if source.problem]
    frames = sum(source.frames for source in result.sources)
    objects = sum(source.objects for source in result.sources)
    if problems and not frames:
        return _failed(job, "; ".join(problems), attempts)
    state = INCOMPLETE if problems else DONE
    failed = attempts + bool(problems)
    outcome = Outcome(
        job.id,
        job.name,
        state,
        frames,
        objects,
        problem="; ".join(problems),
        attempts=failed,
        crops_left_out=result.crops_left_out,
        frames_at_max_det=sum(source.count_at_limit for source in result.sources),
    )
    if places is None:
        return outcome
    return dataclasses.replace(
        outcome, no_positions=places.problems, unplaced=dict(places.unplaced)
    )


def _failed(job: Job, problem: str, attempts: int) -> Outcome:
    return Outcome(job.id, job.name, FAILED, problem=problem, attempts=attempts + 1)
