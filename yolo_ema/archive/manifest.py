"""The manifest of an archive: what it is a run of, and its jobs, a line each."""

from __future__ import annotations

import contextlib
import json
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.archive.finding import JobFinder, source_words
from yolo_ema.archive.job import INCOMPLETE, Job, Order, Outcome
from yolo_ema.archive.storage import Storage
from yolo_ema.errors import ConfigError, MachineError, YoloEmaError
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.media.sources.folder_scan import LeftOut
from yolo_ema.options.archive import ArchiveOptions

__all__ = [
    "DETECTIONS",
    "FILES",
    "PROBLEMS",
    "RECORD",
    "Manifest",
    "Pending",
    "open_manifest",
    "read_record",
    "weights_digest",
    "write_problem",
]

RECORD, _JOBS, _PROBE = "archive.json", "manifest.jsonl", ".writable"
DETECTIONS, FILES, PROBLEMS = "detections", "files", "problems"
_ATTEMPTS = 2
_DEFAULT = "not given"


@dataclass(frozen=True)
class Pending:
    """The jobs of a shard, by what is to be done with them.

    Attributes:
        todo: their places in the manifest, rising.
        attempts: how often those that have failed before did, by id.
        done: how many have their detections.
        left_alone: the rows of those that are incomplete, or failed twice.
    """

    todo: np.ndarray
    attempts: dict[str, int]
    done: int
    left_alone: tuple[dict[str, Any], ...]


class Manifest:
    """The jobs of an archive, as they lie in its folder; memory holds 16 bytes for each.

    Attributes:
        left_out: what lay at the sources when the manifest was made, and is not read.
        not_cut: by reason, how many long videos are one job each, and the first of them.
    """

    def __init__(self, storage: Storage, record: dict[str, Any]) -> None:
        self.storage = storage
        self.left_out = tuple(LeftOut(**one) for one in record.get("left_out", []))
        self.not_cut: dict[str, tuple[int, str]] = record.get("not_cut", {})

    def pending(self, shard: tuple[int, int], *, retry_failed: bool) -> Pending:
        """Compare the jobs of a shard, ``(number, count)``, with what lies in the folder."""
        number, count = shard
        finished = np.fromiter(
            (
                int(name[:16], 16)
                for name in self.storage.names(DETECTIONS)
                if name.endswith(".parquet") and len(name) == 24
            ),
            np.uint64,
        )
        finished.sort()
        problems = {problem["id"]: problem for problem in self.problems()}
        todo, attempts, done, left_alone = array("q"), {}, 0, []
        for index, line in enumerate(self.storage.lines(_JOBS)):
            if index % count != number:
                continue
            job_id = line[8:24]  # {"id": "…
            problem, is_done = problems.get(job_id), _holds(finished, int(job_id, 16))
            if problem is not None and (problem["state"] == INCOMPLETE) != is_done:
                problem = None  # left behind by an attempt that failed before one succeeded
            if problem is None:
                if is_done:
                    done += 1
                else:
                    todo.append(index)
            elif not retry_failed and (is_done or problem["attempts"] >= _ATTEMPTS):
                left_alone.append(problem)
                done += is_done
            else:
                todo.append(index)
                attempts[job_id] = problem["attempts"]
        return Pending(np.array(todo, np.int64), attempts, done, tuple(left_alone))

    def orders(self, pending: Pending) -> Iterator[Order]:
        """Yield the jobs that are to be done, one after the other."""
        wanted = iter(pending.todo.tolist())
        following = next(wanted, None)
        for index, line in enumerate(self.storage.lines(_JOBS)):
            if following is None:
                return
            if index == following:
                job = Job.from_line(line)
                yield Order(job, pending.attempts.get(job.id, 0))
                following = next(wanted, None)

    def problems(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of jobs that failed or are incomplete, by name."""
        for name in sorted(self.storage.names(PROBLEMS)):
            with contextlib.suppress(FileNotFoundError):  # another shard has done it since
                yield json.loads(self.storage.read(f"{PROBLEMS}/{name}"))


def write_problem(storage: Storage, outcome: Outcome) -> None:
    """Write the row of a job that failed or is incomplete. Raises `DiskFullError`."""
    names = ("id", "name", "state", "attempts", "problem")
    row = {name: getattr(outcome, name) for name in names}
    storage.write(f"{PROBLEMS}/{outcome.id}.json", (json.dumps(row, indent=2) + "\n").encode())


def _holds(numbers: np.ndarray, number: int) -> bool:
    at = int(np.searchsorted(numbers, np.uint64(number)))
    return at < len(numbers) and int(numbers[at]) == number


def open_manifest(options: ArchiveOptions, storage: Storage, weights: Path) -> Manifest:
    """Return the manifest in the output folder; make it where there is none.

    Raises:
        ConfigError: the folder belongs to another run: other weights, settings or sources.
        SourceError: a source does not exist, or holds nothing.
        MachineError: the folder cannot be written to.
    """
    record = {
        "format": 1,
        "weights_sha256": weights_digest(weights),
        "settings": options.settings(),
        "sources": source_words(options.source),
    }
    known = read_record(storage)
    if known is not None:
        _hold_against(known, record, storage.place)
        return Manifest(storage, known)
    if next(storage.names(DETECTIONS), None) is not None:
        raise ConfigError(
            f"--out is {storage.place}, which holds {DETECTIONS}/ of something else; expected a "
            f"new or empty folder, or one of the same run"
        )
    with _out_is_named(storage.place):  # before all sources are gone through
        storage.write(_PROBE, b"")
        storage.remove(_PROBE)
    finder = JobFinder(options)
    with tempfile.TemporaryDirectory(prefix="yolo-ema-manifest-") as folder:
        lines = Path(folder) / _JOBS
        with lines.open("w", encoding="utf-8") as file:
            file.writelines(f"{job.as_line()}\n" for job in finder.jobs())
        with _out_is_named(storage.place):
            storage.put_file(lines, _JOBS)
            # Last, so that what it is the record of is there.
            record["left_out"] = [asdict(one) for one in finder.left_out]
            record["not_cut"] = finder.not_cut
            storage.write(RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return Manifest(storage, record)


def read_record(storage: Storage) -> dict[str, Any] | None:
    """Return what the output folder is a run of; None for a new one.

    Raises:
        ConfigError: the record is damaged.
        MachineError: the folder cannot be read.
    """
    try:
        record = json.loads(storage.read(RECORD))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ConfigError(
            f"{storage.place}/{RECORD} is damaged: {error}; remove it to start over"
        ) from error
    return dict(record)


@contextlib.contextmanager
def _out_is_named(place: str) -> Iterator[None]:
    """Raise `MachineError` where the output folder cannot be written to."""
    try:
        yield
    except YoloEmaError:
        raise
    except OSError as error:
        raise MachineError(
            f"--out {place} cannot be written to: {error.strerror or error}"
        ) from error


def _hold_against(known: dict[str, Any], record: dict[str, Any], place: str) -> None:
    """Raise `ConfigError` where a folder belongs to another run, with what differs."""
    differs = []
    if known.get("format") != record["format"]:
        differs.append(f"it was made by another version (format {known.get('format')})")
    if known.get("weights_sha256") != record["weights_sha256"]:
        differs.append("other weights")
    before, now = known.get("settings", {}), record["settings"]
    differs += [
        f"--{name.replace('_', '-')} was {before.get(name, _DEFAULT)} and is "
        f"{now.get(name, _DEFAULT)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if known.get("sources") != record["sources"]:
        differs.append(f"the sources were {', '.join(known.get('sources', []))}")
    if differs:
        raise ConfigError(
            f"--out is {place}, which belongs to another run: {'; '.join(differs)}. Give the same "
            f"again, or another folder."
        )


def weights_digest(weights: Path) -> str:
    """Return the SHA-256 of a weights file, or of all files of an exported folder."""
    return sha256_of(weights)
