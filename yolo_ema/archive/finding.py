"""From what the user names to jobs, in an order that the same files always have."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import itertools
import math
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from yolo_ema.archive.job import Job
from yolo_ema.archive.places import absolute, before_pattern
from yolo_ema.archive.remote import fetch, file_system
from yolo_ema.constants import VIDEO_SUFFIXES, is_hidden
from yolo_ema.errors import SourceError, YoloEmaError
from yolo_ema.io.machine import usable_cores
from yolo_ema.io.scratch_folders import scratch_folder
from yolo_ema.media.sources.addresses import is_address
from yolo_ema.media.sources.folder_scan import (
    FolderScan,
    LeftOut,
    has_wildcards,
    is_media,
    scan_folder,
)
from yolo_ema.media.sources.image_sequence import natural_order
from yolo_ema.media.sources.open_sources import find_sources
from yolo_ema.media.sources.source import UnreadableSource
from yolo_ema.media.sources.stored_source import StoredSource
from yolo_ema.media.sources.video_cuts import CutVideo, cut_video
from yolo_ema.options.archive import ArchiveOptions

_CUT_AHEAD = 32


class JobFinder:
    """Finds the jobs of an archive, folder by folder.

    Attributes:
        left_out: what lies at the named places and is not read.
        not_cut: by reason, how many long videos are one job each, and the first of them.
    """

    def __init__(self, options: ArchiveOptions) -> None:
        self.left_out: list[LeftOut] = []
        self.not_cut: dict[str, tuple[int, str]] = {}
        self._options = options
        self._stopped = threading.Event()
        self._seen: set[int] | None = set() if len(options.source) > 1 else None

    def jobs(self) -> Generator[Job, None, None]:
        """Yield the jobs: for each word the videos, then the images of each folder.

        Raises:
            SourceError: a word names nothing that is a video or an image, a live source, or a
                folder of which a part cannot be read.
        """
        pool = ThreadPoolExecutor(usable_cores())
        try:
            for word in self._options.source:
                files = self._new(self._files(word))
                images: dict[str, list[str]] = {}
                videos = (file for file in files if not _set_aside(file, images))
                yield from self._video_jobs(videos, pool)
                for folder in sorted(images):
                    yield from self._image_jobs(images[folder])
        finally:  # an interruption waits for no video to be read through
            pool.shutdown(wait=False, cancel_futures=True)
            self._stopped.set()  # last: a worker that it frees finds no other video waiting

    def _files(self, word: str) -> Iterable[str]:
        """Return what a word names, as absolute paths or addresses."""
        if is_address(word) and not word.startswith("file://"):
            scan = _scan_address(word)
        elif Path(word).is_dir():
            scan = scan_folder(Path(word))
        else:
            return self._named(word)
        self.left_out += scan.left_out()
        _refuse_missing_parts(scan)
        self.left_out += (LeftOut(str(path), 1, problem) for path, problem in scan.unreadable)
        if not scan.files:
            content = f"; it holds {scan.kinds()}" if scan.other_kinds else ""
            raise SourceError(f"{word} contains no image or video{content}")
        if is_address(word):
            return map(str, scan.files)
        return map(absolute, scan.files)

    def _named(self, word: str) -> list[str]:
        """Return what a file, a pattern or a list names."""
        scan = find_sources([word.removeprefix("file://")])
        self.left_out += scan.left_out
        files = []
        for source in scan.sources:
            if isinstance(source, UnreadableSource):
                raise SourceError(source.problem)
            if not isinstance(source, StoredSource):
                raise SourceError(
                    f"{source.name} is not a file; an archive is made of videos and images "
                    f"(yolo-ema detect takes cameras, streams and pipes)"
                )
            files.append(absolute(source.path))
        return files

    def _new(self, files: Iterable[str]) -> Iterator[str]:
        """Yield the files that no word before has named."""
        for file in files:
            if self._seen is not None:
                if (known := hash(file)) in self._seen:
                    continue
                self._seen.add(known)
            yield file

    def _video_jobs(self, videos: Iterable[str], pool: ThreadPoolExecutor) -> Iterator[Job]:
        waiting: deque[tuple[str, Future[CutVideo]]] = deque()
        for file in itertools.chain(videos, [None]):
            if file is not None:
                waiting.append((file, pool.submit(self._cut, file)))
            while waiting and (file is None or len(waiting) >= _CUT_AHEAD):
                video, cutting = waiting.popleft()
                spans, reason = cutting.result()
                if reason:
                    count, first = self.not_cut.get(reason, (0, video))
                    self.not_cut[reason] = (count + 1, first)
                yield from (Job((video,), span) for span in spans or (None,))

    def _cut(self, file: str) -> CutVideo:
        is_remote = is_address(file)
        segment_s = self._options.segment_s(is_remote=is_remote)
        if not segment_s:
            return CutVideo(())
        try:
            with contextlib.ExitStack() as scratch:
                path = Path(file)
                if is_remote:
                    path = fetch(file, scratch.enter_context(scratch_folder("archive")))
                return self._of_the_selection(cut_video(path, segment_s, self._stopped.is_set))
        except Exception:  # whoever runs the job says why; one video never ends the others
            return CutVideo(())

    def _of_the_selection(self, cut: CutVideo) -> CutVideo:
        """Leave out the parts that lie outside of ``--start`` and ``--end``."""
        start_s, end_s = self._options.start, self._options.end or math.inf
        return cut._replace(
            spans=tuple(span for span in cut.spans if span.start_s < end_s and span.end_s > start_s)
        )

    def _image_jobs(self, images: Sequence[str]) -> Iterator[Job]:
        """Yield the images of a folder: as one sequence where they are tracked, else in parts."""
        ordered = sorted(images, key=lambda file: natural_order(file.rpartition("/")[2]))
        if self._options.tracks and len(ordered) > 1:
            yield Job(tuple(ordered), is_sequence=True)
            return
        size = self._options.images_per_job
        for start in range(0, len(ordered), size):
            yield Job(tuple(ordered[start : start + size]))


def _refuse_missing_parts(scan: FolderScan) -> None:
    """Raise `SourceError` where part of a folder cannot be seen: the list of jobs is made once, and
    would never hold what lies there.
    """
    for path, problem in scan.unreadable:
        try:
            path.stat()
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP}:  # gone, or a link to itself
                continue
        raise SourceError(f"{problem}; an archive is made of all that lies below {scan.place}")


def source_words(words: Sequence[str]) -> list[str]:
    """Return what the user named, paths made absolute: what an archive is known by."""
    return [word if is_address(word) else absolute(word) for word in words]


def _set_aside(file: str, images: dict[str, list[str]]) -> bool:
    """Put an image into its folder's list; say no to a video."""
    if PurePosixPath(file).suffix.lower() in VIDEO_SUFFIXES:
        return False
    images.setdefault(file.rpartition("/")[0], []).append(file)
    return True


def _scan_address(word: str) -> FolderScan:
    """Return what lies at an address: a file, all below a folder, or what matches a pattern.

    Raises:
        SourceError: nothing is there, or it cannot be read.
    """
    try:
        system, path = file_system(word)
        if system.isfile(path):  # whatever signs are in its name
            paths, base, spelled = [path], PurePosixPath(path).parent, [PurePosixPath(path).name]
        elif has_wildcards(path):
            paths, spelled = system.glob(path), list(PurePosixPath(path).parts)
            base = PurePosixPath(before_pattern(path))
        else:
            paths, base, spelled = system.find(path), PurePosixPath(path), []
    except YoloEmaError:
        raise
    except Exception as error:  # whatever a storage's package raises
        raise SourceError(f"{word} cannot be read: {type(error).__name__}: {error}") from error
    if not paths:
        raise SourceError(f"nothing at {word}")
    scan, hidden = FolderScan(word), set()
    for file in sorted(paths):
        name = PurePosixPath(file)
        if (found := _hidden_part(name, base, spelled)) is not None:
            hidden |= {found} if found != name or is_media(Path(name)) else set()
        elif is_media(Path(name)):
            scan.files.append(system.unstrip_protocol(file))
        else:
            scan.other_kinds[name.suffix.lower()] += 1
    scan.hidden = len(hidden)
    return scan


def _hidden_part(
    file: PurePosixPath, base: PurePosixPath, spelled: Sequence[str]
) -> PurePosixPath | None:
    """Return the first folder below ``base``, or else the file, that is hidden or an operating
    system's; None where none is, but for what the user has ``spelled``, in a pattern such as
    ``.old*``.
    """
    known = len(base.parts) if file.is_relative_to(base) else 0
    for depth, part in enumerate(file.parts[known:], start=known + 1):
        if is_hidden(part) and not any(
            is_hidden(word) and fnmatch.fnmatchcase(part, word) for word in spelled
        ):
            return PurePosixPath(*file.parts[:depth])
    return None
