"""Turns what a user names into sources: files, folders, patterns, lists, pipes, cameras and
addresses.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from yolo_ema.constants import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from yolo_ema.errors import SourceError, did_you_mean, system_reason
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.media.sources.addresses import (
    is_address,
    may_hold_secrets,
    parse_address,
    shown_of_unusable,
)
from yolo_ema.media.sources.camera_source import CameraSource
from yolo_ema.media.sources.folder_scan import (
    FolderScan,
    LeftOut,
    has_wildcards,
    is_media,
    scan_folder,
    scan_pattern,
)
from yolo_ema.media.sources.image_sequence import as_sequences
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.output_names import with_output_names
from yolo_ema.media.sources.source import FrameReader, Source, UnreadableSource
from yolo_ema.media.sources.stored_source import PipeSource, StoredSource
from yolo_ema.media.sources.stream_source import StreamSource

__all__ = [
    "LIST_SUFFIXES",
    "FoundSources",
    "FrameReader",
    "NetworkOptions",
    "Source",
    "find_sources",
    "open_sources",
]

LIST_SUFFIXES = frozenset({".streams", ".txt"})
_DEFAULT = NetworkOptions()
_COMMENT = re.compile(r"\s+#")
_STDIN = frozenset({"-", "/dev/stdin"})


@dataclass(frozen=True)
class FoundSources:
    """What the user's words stand for: sources in the order given, sorted by name within a folder,
    and what lies at the named places and is not read.
    """

    sources: tuple[Source, ...]
    left_out: tuple[LeftOut, ...]


def open_sources(
    specifications: Sequence[str],
    *,
    max_pixels: int = LARGEST_PIXELS,
    network: NetworkOptions = _DEFAULT,
    sequence_rate: Fraction | None = None,
) -> list[Source]:
    """Turn what the user names into sources; see `find_sources`, which also says what is left out.

    Examples:
        >>> from yolo_ema import open_sources
        >>> [source.is_live for source in open_sources(["flight.mp4", "rtsp://10.0.0.7/live"])]
        [False, True]
    """
    scan = find_sources(
        specifications, max_pixels=max_pixels, network=network, sequence_rate=sequence_rate
    )
    return list(scan.sources)


def find_sources(
    specifications: Sequence[str],
    *,
    max_pixels: int = LARGEST_PIXELS,
    network: NetworkOptions = _DEFAULT,
    sequence_rate: Fraction | None = None,
) -> FoundSources:
    """Turn what the user names into sources, each real file and each address once.

    Nothing is opened or connected to. No two sources have the same stem. What exists on disk is
    taken for that, whatever else its name could mean.

    Args:
        specifications: image files, video files, folders (all images and videos below them),
            patterns such as ``flight/*.jpg``, cameras (``0``, ``/dev/video0``), addresses
            (``rtsp://…``), ``-`` and named pipes for a video that another program writes, or lists
            of these: a ``.txt`` or ``.streams`` file with one per line, where # begins a comment
            and paths count from the list's folder.
        max_pixels: the limit for images, see `read_image`.
        network: patience with cameras and streams.
        sequence_rate: frames per second at which the images of each folder are the frames of one
            sequence, in natural order; None if every image is a source of its own.

    A name that cannot be used - its path does not exist, the pattern matches nothing, the folder
    holds neither image nor video, the file is of another kind, the address makes no sense - becomes
    a source that fails with the reason when it is opened, so that the others are read.

    Raises:
        SourceError: none of the names can be used. The message repeats no secret.

    Examples:
        >>> from yolo_ema import find_sources
        >>> found = find_sources(["flight.mp4", "junction.jpg"])
        >>> len(found.sources), len(found.left_out)
        (2, 0)
    """
    finder = _Finder(max_pixels, network)
    for specification in specifications:
        finder.add(specification)
    if not finder.found_any and finder.problems:
        raise SourceError("; ".join(finder.problems))
    sources = with_output_names(list(finder.sources))
    if sequence_rate is not None:
        sources = with_output_names(as_sequences(sources, sequence_rate))
    return FoundSources(tuple(sources), tuple(finder.left_out))


class _Finder:
    """Collects sources, each once."""

    def __init__(self, max_pixels: int, network: NetworkOptions) -> None:
        self.sources: dict[Source, None] = {}
        self.left_out: list[LeftOut] = []
        self.problems: list[str] = []
        self._max_pixels, self._network = max_pixels, network
        self._real_paths: set[str] = set()
        self._shown_alike: Counter[str] = Counter()

    @property
    def found_any(self) -> bool:
        """Whether anything was found that may be readable."""
        return any(not isinstance(source, UnreadableSource) for source in self.sources)

    def add(self, specification: str) -> None:
        path = Path(specification)
        is_list = path.suffix.lower() in LIST_SUFFIXES and not is_address(specification)
        if is_list and os.path.isfile(path):  # noqa: PTH113 - says no to impossible names
            self._try(self._add_list, path)
        else:
            self._try(self._add_one, specification)

    def _try(self, add: Callable[..., None], named: str | Path, *more: Any, line: str = "") -> None:
        """Add what is named, at a line of a list or not, or the reason why it cannot be used."""
        shown = shown_of_unusable(str(named))
        try:
            add(named, *more)
        except SourceError as error:
            reason = str(error)
        except OSError as error:
            reason = f"{shown} cannot be read: {system_reason(error)}"
        else:
            return
        problem = f"{line}: {reason}" if line else reason
        self.problems.append(problem)
        if shown != str(named):
            shown = line or self._numbered(shown)
        self._add_source(UnreadableSource(shown, problem))

    def _numbered(self, shown: str) -> str:
        """Return a name that tells addresses apart of which no more than this is shown."""
        self._shown_alike[shown] += 1
        number = self._shown_alike[shown]
        return shown if number == 1 else f"{shown} #{number}"

    def _add_list(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is not a list of sources: it is not UTF-8 text") from error
        empty = True
        for number, line in enumerate(lines, start=1):
            named = _without_comment(line.strip(), path.parent)
            if not named:
                continue
            empty = False
            self._try(self._add_one, named, path.parent, line=f"{path}, line {number}")
        if empty:
            raise SourceError(f"the list {path} names no source; expected one per line")

    def _add_one(self, specification: str, base: Path | None = None) -> None:
        """Add what one name stands for; paths count from ``base``."""
        if is_address(specification):
            self._add_stream(specification)
            return
        if "\0" in specification:
            shown = shown_of_unusable(specification)
            raise SourceError(f"{shown!r} holds a NUL character, which no path can")
        if specification in _STDIN:
            self._add_source(PipeSource(Path("/dev/stdin"), specification, self._max_pixels))
            return
        if base is not None:
            specification = _with_home(specification, base)
        path = Path(specification) if base is None else base / specification
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self._add_missing(specification, path, base, error)
            return
        if stat.S_ISDIR(mode):
            self._add_scan(scan_folder(path), f"the folder {path} contains no image or video")
        elif stat.S_ISCHR(mode):
            self._add_source(CameraSource(str(path), self._network))
        elif stat.S_ISFIFO(mode):
            self._add_source(PipeSource(path, str(path), self._max_pixels))
        elif is_media(path):
            self._add_file(path)
        else:
            raise SourceError(
                f"{path} is neither an image nor a video by its name; expected {_known_kinds()}"
            )

    def _add_missing(
        self, specification: str, path: Path, base: Path | None, error: OSError
    ) -> None:
        """Add what a name stands for that leads to no file: a camera, or a pattern."""
        if specification.isdecimal() and specification.isascii():
            self._add_source(CameraSource(str(int(specification)), self._network))
            return
        scan = scan_pattern(specification, base) if has_wildcards(specification) else None
        if not (scan and scan.files) and may_hold_secrets(specification):
            raise SourceError(
                "a name that looks like an address, and is no file, cannot be used; expected "
                "scheme://[user:password@]host[:port]/path, without quotes"
            )
        if scan is not None:
            self._add_scan(scan, f"the pattern {specification!r} matches no image or video")
        elif isinstance(error, FileNotFoundError | NotADirectoryError):
            closest = did_you_mean(path.name, _names_in(path.parent))
            raise SourceError(f"no file or folder at {path}{closest}")
        else:
            raise SourceError(f"{path} cannot be read: {system_reason(error)}")

    def _add_scan(self, scan: FolderScan, nothing: str) -> None:
        if not scan.files and not scan.unreadable:
            content = f"; it holds {scan.kinds()}" if scan.other_kinds else ""
            raise SourceError(f"{nothing}{content}; expected {_known_kinds()}")
        for file in scan.files:
            self._add_file(file)
        for folder, problem in scan.unreadable:
            self._add_source(UnreadableSource(str(folder), problem))
        self.left_out += scan.left_out()

    def _add_file(self, path: Path) -> None:
        real = os.path.realpath(path)
        if real not in self._real_paths:
            self._real_paths.add(real)
            self._add_source(StoredSource(path, self._max_pixels))

    def _add_stream(self, address: str) -> None:
        source = StreamSource(parse_address(address), self._network, self._max_pixels)
        known = (other.address for other in self.sources if isinstance(other, StreamSource))
        if source.address not in known:
            self._shown_alike[source.name] += 1
            self._add_source(replace(source, number=self._shown_alike[source.name]))

    def _add_source(self, source: Source) -> None:
        self.sources[source] = None


def _without_comment(line: str, folder: Path) -> str:
    """Return what a line of a list names; a file whose name holds `` #`` is taken for that."""
    if line.startswith("#"):
        return ""
    if os.path.exists(folder / line) and "\0" not in line:  # noqa: PTH110 - says no to impossible names
        return line
    return _COMMENT.split(line, maxsplit=1)[0]


def _with_home(specification: str, base: Path) -> str:
    """Return a name with ``~`` replaced by the home folder, unless something in ``base`` begins so,
    or there is no such user.
    """
    if not specification.startswith("~") or os.path.lexists(base / Path(specification).parts[0]):
        return specification
    return os.path.expanduser(specification)  # noqa: PTH111 - unknown users stay, without an error


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none if it cannot be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - the names alone
    except OSError:
        return []


def _known_kinds() -> str:
    return " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
