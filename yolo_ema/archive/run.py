"""``yolo-ema archive``: a manifest of jobs, an engine that runs those that are not done, and an
account.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable

from yolo_ema.archive.finding import source_words
from yolo_ema.archive.job import FAILED, Order, Outcome
from yolo_ema.archive.local_engine import run_locally
from yolo_ema.archive.manifest import check_writable, open_manifest, write_problem
from yolo_ema.archive.progress import Progress
from yolo_ema.archive.result import ArchiveResult
from yolo_ema.archive.storage import open_storage
from yolo_ema.detect.detector import default_weights
from yolo_ema.errors import WeightsNotFoundError
from yolo_ema.options.archive import ArchiveOptions

Engine = Callable[[ArchiveOptions, Iterable[Order], int], Generator[Outcome, None, None]]


def archive(options: ArchiveOptions) -> ArchiveResult:
    """Run through an archive of videos and images; the same call again does what is left.

    A job's results appear whole or not at all, and its detections last. A job that fails is a row
    in the result and in the folder ``problems``, and does not stop the others; the next run tries
    it once more. Ctrl-C and SIGTERM end the run; what was being run is begun again by the next.

    Raises:
        ConfigError: the output folder belongs to another run; an option does not fit.
        SourceError: a source does not exist, or contains no image or video.
        WeightsError: the weights cannot be used.
        DataNotFoundError: the surface model is not there.
        MissingPackageError: an extra is not installed; the message names it.
            MachineError: the output folder cannot be written to; the cluster does not answer, or
                does not fit this machine.
        DiskFullError: a failure could not be noted.
    """
    weights = options.weights or default_weights()
    if not weights.exists():
        raise WeightsNotFoundError(f"there is no weights file {weights}")
    if options.telemetry:
        from yolo_ema.detect.stored_places import check_telemetry

        check_telemetry(options)
    storage = open_storage(options.out)
    run = _engine(options)
    manifest = open_manifest(options, storage, weights)
    pending = manifest.pending(options.shard_of, retry_failed=options.retry_failed)
    result = ArchiveResult.before(storage.place, pending, manifest)
    count, began_at = len(pending.todo), time.perf_counter()
    if not count:
        return result
    check_writable(storage)
    with (
        contextlib.closing(Progress(count)) as progress,
        contextlib.closing(
            run(_with_absolute_sources(options), manifest.orders(pending), count)
        ) as outcomes,
    ):
        try:
            for outcome in outcomes:
                if outcome.state == FAILED:
                    write_problem(storage, outcome)
                result.add(outcome)
                progress.show(result)
        except KeyboardInterrupt:
            result.interrupted = True
    result.seconds = time.perf_counter() - began_at
    return result


def _with_absolute_sources(options: ArchiveOptions) -> ArchiveOptions:
    """Return options that mean the same sources in the folder of any process."""
    return dataclasses.replace(options, source=tuple(source_words(options.source)))


def _engine(options: ArchiveOptions) -> Engine:
    if options.engine == "local":
        return run_locally
    from yolo_ema.archive.ray_engine import run_on_ray

    return run_on_ray
