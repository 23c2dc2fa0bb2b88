"""The manifest of an archive: what it is a run of, and its jobs, a line each."""

from __future__ import annotations

import contextlib
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.archive.finding import JobFinder, source_words
from yolo_ema.archive.job import INCOMPLETE, Job, Order, Outcome
from yolo_ema.archive.named_files import changed_files, comparable, with_named_files
from yolo_ema.archive.storage import Storage
from yolo_ema.errors import ConfigError, MachineError, YoloEmaError
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.io.scratch_folders import scratch_folder, temp_folder_named
from yolo_ema.media.sources.folder_scan import LeftOut
from yolo_ema.options.archive import ArchiveOptions

RECORD, _JOBS, _PROBE = "archive.json", "manifest.jsonl", ".writable"
DETECTIONS, FILES, PROBLEMS = "detections", "files", "problems"
_ATTEMPTS = 2
_COLUMNS = ("id", "name", "state", "attempts", "problem")
_COPY = "put it back from a copy, or give another folder"
_DEFAULT = "not given"
_LINE = re.compile(r'\{"id": "([0-9a-f]{16})", [ -~]+\}\n')
_RESULTS = re.compile(r"([0-9a-f]{16})\.parquet")
_ROW = re.compile(r"[0-9a-f]{16}\.json")


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
        self.left_out = tuple(LeftOut(**entry) for entry in record.get("left_out", []))
        self.not_cut: dict[str, tuple[int, str]] = record.get("not_cut", {})

    def pending(self, shard: tuple[int, int], *, retry_failed: bool) -> Pending:
        """Compare the jobs of a shard, ``(number, count)``, with what lies in the folder.

        Raises:
            ConfigError: the manifest, or the row of a problem, is damaged.
        """
        number, count = shard
        results = map(_RESULTS.fullmatch, self.storage.names(DETECTIONS))
        finished = np.fromiter((int(name[1], 16) for name in results if name), np.uint64)
        finished.sort()
        problems = {problem["id"]: problem for problem in self.problems()}
        todo, attempts, done, left_alone = array("q"), {}, 0, []
        for index, (job_id, _) in enumerate(self._lines()):
            if index % count != number:
                continue
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
        numbers = iter(pending.todo.tolist())
        following = next(numbers, None)
        for index, (_, line) in enumerate(self._lines()):
            if following is None:
                return
            if index == following:
                job = Job.from_line(line)
                yield Order(job, pending.attempts.get(job.id, 0))
                following = next(numbers, None)

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Yield the jobs' names and lines. Raises `ConfigError` where the manifest is damaged."""
        number, match = 0, None
        with contextlib.suppress(FileNotFoundError):
            for line in self.storage.lines(_JOBS):
                number += 1
                if not (match := _LINE.fullmatch(line)):
                    break
                yield match[1], line
        if not match:
            problem = f"line {number} is not a job" if number else "it is empty or missing"
            raise ConfigError(f"{self.storage.place}/{_JOBS} is damaged: {problem}; {_COPY}")

    def problems(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of jobs that failed or are incomplete, by name.

        Raises:
            ConfigError: a row is damaged.
        """
        for name in filter(_ROW.fullmatch, sorted(self.storage.names(PROBLEMS))):
            with contextlib.suppress(FileNotFoundError):  # another shard has done it since
                yield _object(
                    self.storage, f"{PROBLEMS}/{name}", _COLUMNS, "remove it and run again"
                )


def write_problem(storage: Storage, outcome: Outcome) -> None:
    """Write the row of a job that failed or is incomplete. One that was incomplete stays it where
    another try fails: what was found is still there. Raises `DiskFullError`.
    """
    row = {name: getattr(outcome, name) for name in _COLUMNS}
    if storage.exists(f"{DETECTIONS}/{outcome.id}.parquet"):
        row["state"] = INCOMPLETE
    storage.write(f"{PROBLEMS}/{outcome.id}.json", (json.dumps(row, indent=2) + "\n").encode())


def _holds(numbers: np.ndarray, number: int) -> bool:
    index = int(np.searchsorted(numbers, np.uint64(number)))
    return index < len(numbers) and int(numbers[index]) == number


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
        **with_named_files(options),
        "sources": source_words(options.source),
    }
    known = read_record(storage)
    if known is not None:
        _hold_against(known, comparable(record, known, options), storage)
        return Manifest(storage, known)
    if next(storage.names(DETECTIONS), None) is not None:
        raise ConfigError(
            f"--out is {storage.place}, which holds {DETECTIONS}/ of something else; expected a "
            f"new or empty folder, or one of the same run"
        )
    check_writable(storage)  # before all sources are gone through
    finder = JobFinder(options)
    with scratch_folder("manifest") as folder:
        lines = folder / _JOBS
        with (
            temp_folder_named(folder),  # of a source below the temporary folder it says nothing
            lines.open("w", encoding="utf-8", newline="\n") as file,
            contextlib.closing(finder.jobs()) as jobs,
        ):
            file.writelines(f"{job.as_line()}\n" for job in jobs)
        with _out_is_named(storage.place):
            storage.put_file(lines, _JOBS)
            # Last, so that what it is the record of is there.
            record["left_out"] = [asdict(entry) for entry in finder.left_out]
            record["not_cut"] = finder.not_cut
            storage.write(RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return Manifest(storage, record)


def check_writable(storage: Storage) -> None:
    """Raise `MachineError` where the output folder cannot be written to."""
    with _out_is_named(storage.place):
        storage.write(_PROBE, b"")
        storage.remove(_PROBE)


def read_record(storage: Storage) -> dict[str, Any] | None:
    """Return what the output folder is a run of; None for a new one.

    Raises:
        ConfigError: the record is damaged.
        MachineError: the folder cannot be read.
    """
    try:
        return _object(storage, RECORD, (), _COPY)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _object(storage: Storage, name: str, needs: Sequence[str], remedy: str) -> dict[str, Any]:
    """Return a JSON object that lies in the folder.

    Raises:
        FileNotFoundError: it is not there.
        ConfigError: it is damaged, or lacks an entry that it ``needs``.
    """
    content = storage.read(name)
    try:
        record = json.loads(content)
        complete = isinstance(record, dict) and record.keys() >= set(needs)
        problem = "" if complete else "entries are missing"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ConfigError(f"{storage.place}/{name} is damaged: {problem}; {remedy}")
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


def _hold_against(known: dict[str, Any], record: dict[str, Any], storage: Storage) -> None:
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
    differs += changed_files(known, record)
    if known.get("sources") != record["sources"]:
        differs.append(f"the sources were {', '.join(known.get('sources', []))}")
    if differs:
        begun = any(next(storage.names(folder), None) for folder in (DETECTIONS, PROBLEMS))
        empty = "" if begun else " Nothing has been done in it so far: it can be removed."
        raise ConfigError(
            f"--out is {storage.place}, which belongs to another run: {'; '.join(differs)}. Give "
            f"the same again, or another folder.{empty}"
        )


def weights_digest(weights: Path) -> str:
    """Return the SHA-256 of a weights file, or of all files of an exported folder."""
    return sha256_of(weights)
