"""Names for output files, one for each source of a run: what lies under a name belongs to one
source, in every kind of output.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from yolo_ema.media.sources.image_sequence import ImageSequence
from yolo_ema.media.sources.source import Source
from yolo_ema.media.sources.stored_source import PipeSource, StoredSource
from yolo_ema.media.sources.stream_source import StreamSource

_Stored = StoredSource | ImageSequence
_RENAMED = (StoredSource, ImageSequence, StreamSource, PipeSource)
_FRAME_DIGITS = 6
_LONGEST_BYTES = 200
"""File systems take 255: a frame's number, a row, an identity and a suffix come behind a stem."""


def with_output_names(sources: Sequence[Source]) -> list[Source]:
    """Return the same sources with distinct stems, distinct also on file systems that ignore case.

    Sources whose stem nobody shares keep it. Files that share one get as many names of their
    folders in front as tell the folders apart, ``first_0001``, and within one folder their suffix
    behind, ``0001_png``. What is still alike is numbered: ``cam-2``. Very long stems are cut. Names
    of a video's frames, ``clip_000012``, are its own.
    """
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.stem.casefold(), []).append(source)
    videos = {source.stem.casefold() for source in sources if source.is_video}
    crowded = dict.fromkeys(
        source
        for group in groups.values()
        for source in group
        if isinstance(source, _RENAMED)
        and (len(group) > 1 or _cut(source.stem) != source.stem or _is_frame(source.stem, videos))
    )
    stems = {source: source.stem for source in sources if source not in crowded}
    taken = {stem.casefold() for stem in stems.values()}
    longer = _with_folders(
        [source for source in crowded if isinstance(source, (StoredSource, ImageSequence))]
    )
    for source in crowded:
        stem = _cut(longer.get(source, source.stem))
        stems[source] = next(
            name
            for name in _numbered(stem)
            if name.casefold() not in taken and not _is_frame(name, videos)
        )
        taken.add(stems[source].casefold())
    return [
        replace(source, file_stem=stems[source])
        if isinstance(source, _RENAMED) and stems[source] != source.stem
        else source
        for source in sources
    ]


def _is_frame(stem: str, videos: Set[str]) -> bool:
    """Say whether a stem is that of a video's frame."""
    clip, _, number = stem.casefold().rpartition("_")
    return clip in videos and number.isdecimal() and len(number) >= _FRAME_DIGITS


def _cut(stem: str) -> str:
    """Return a stem that leaves room for what is put behind it in the names of files."""
    encoded = os.fsencode(stem)
    if len(encoded) <= _LONGEST_BYTES:
        return stem
    return encoded[:_LONGEST_BYTES].decode("utf-8", "ignore")


def _with_folders(sources: Sequence[_Stored]) -> dict[Source, str]:
    """Return longer stems for files that share theirs."""
    groups: dict[str, list[_Stored]] = {}
    for source in sources:
        groups.setdefault(source.stem.casefold(), []).append(source)
    longer: dict[Source, str] = {}
    for group in groups.values():
        folders = {source: Path(os.path.abspath(source.path)).parent for source in group}  # noqa: PTH100 - links stay
        words = _told_apart(set(folders.values()))
        in_folder = Counter(folders.values())
        for source, folder in folders.items():
            kind = (
                f"_{source.path.suffix[1:]}" if in_folder[folder] > 1 and source.path.suffix else ""
            )
            longer[source] = f"{words[folder]}{source.stem}{kind}"
    return longer


def _told_apart(folders: set[Path]) -> dict[Path, str]:
    """Return for each folder as many of its last names as tell all of them apart, each with ``_``
    behind; none for one folder.
    """
    if len(folders) == 1:
        return dict.fromkeys(folders, "")
    deepest = max(len(folder.parts) for folder in folders)
    for count in range(1, deepest + 1):
        words = {
            folder: "".join(f"{part}_" for part in folder.relative_to(folder.anchor).parts[-count:])
            for folder in folders
        }
        if len({word.casefold() for word in words.values()}) == len(folders):
            return words
    return words


def _numbered(stem: str) -> Iterator[str]:
    return itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
