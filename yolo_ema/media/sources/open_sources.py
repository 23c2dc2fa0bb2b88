"""What a user names as a source, turned into sources: files, folders, patterns, lists, cameras,
addresses.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from yolo_ema.constants import IMAGE_SUFFIXES
from yolo_ema.errors import SourceError, did_you_mean
from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.media.sources.addresses import is_address, parse_address
from yolo_ema.media.sources.camera_source import CameraSource, is_camera
from yolo_ema.media.sources.image_sequence import as_sequences
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.output_names import with_output_names
from yolo_ema.media.sources.source import FrameReader, Source
from yolo_ema.media.sources.stored_source import StoredSource
from yolo_ema.media.sources.stream_source import StreamSource
from yolo_ema.media.sources.video_reader import VIDEO_SUFFIXES

__all__ = ["LIST_SUFFIXES", "FrameReader", "NetworkOptions", "Source", "open_sources"]

LIST_SUFFIXES = frozenset({".streams", ".txt"})
_DEFAULT = NetworkOptions()


def open_sources(
    specifications: Sequence[str],
    *,
    max_pixels: int = LARGEST_PIXELS,
    network: NetworkOptions = _DEFAULT,
    sequence_rate: Fraction | None = None,
) -> list[Source]:
    """Turn what the user names into sources, in the order given and sorted by name within a folder;
    repeated ones count once.

    Nothing is opened or connected to. No two sources have the same stem.

    Args:
        specifications: image files, video files, folders (all images and videos below them),
            patterns such as ``flight/*.jpg``, cameras (``0``, ``/dev/video0``), addresses
            (``rtsp://…``), or lists of these: a ``.txt`` or ``.streams`` file with one in a line,
            where # begins a comment and paths count from the list's folder.
        max_pixels: the limit for images, see `read_image`.
        network: patience with cameras and streams.
        sequence_rate: frames a second at which the images of each folder are the frames of one
            sequence, in natural order; None where every image is a source of its own.

    Raises:
        SourceError: a path does not exist, a pattern matches nothing, a folder holds neither image
            nor video, a file is of another kind, or an address cannot be used. The message repeats
            no secret.
    """
    found: dict[Source, None] = {}
    shown: Counter[str] = Counter()
    for specification in specifications:
        for source in _sources_of(specification, max_pixels, network):
            if source in found:
                continue
            if isinstance(source, StreamSource) and not _is_known(source, found):
                shown[source.name] += 1
                found[replace(source, number=shown[source.name])] = None
            elif not isinstance(source, StreamSource):
                found[source] = None
    distinct = with_output_names(list(found))
    return (
        distinct
        if sequence_rate is None
        else with_output_names(as_sequences(distinct, sequence_rate))
    )


def _is_known(source: StreamSource, found: dict[Source, None]) -> bool:
    return any(isinstance(one, StreamSource) and one.address == source.address for one in found)


def _sources_of(specification: str, max_pixels: int, network: NetworkOptions) -> Iterator[Source]:
    path = Path(specification)
    if not is_address(specification) and path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        yield from _sources_of_list(path, max_pixels, network)
    else:
        yield from _plain_sources(specification, max_pixels, network)


def _plain_sources(
    specification: str, max_pixels: int, network: NetworkOptions
) -> Iterator[Source]:
    if is_address(specification):
        yield StreamSource(parse_address(specification), network, max_pixels)
    elif is_camera(specification):
        yield CameraSource(
            str(int(specification)) if specification.isdecimal() else specification, network
        )
    else:
        yield from (StoredSource(path, max_pixels) for path in _paths_of(specification))


def _sources_of_list(path: Path, max_pixels: int, network: NetworkOptions) -> Iterator[Source]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no list of sources: it is not UTF-8 text") from error
    empty = True
    for number, line in enumerate(lines, start=1):
        one = line.strip()
        if not one or one.startswith("#"):
            continue
        empty = False
        if not is_address(one) and not one.isdecimal():
            one = str(path.parent / Path(one).expanduser())
        try:
            yield from _plain_sources(one, max_pixels, network)
        except SourceError as error:
            raise SourceError(f"{path}, line {number}: {error}") from error
    if empty:
        raise SourceError(f"the list {path} names no source; expected one in a line")


def _paths_of(specification: str) -> list[Path]:
    path = Path(specification)
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if _kind_is_known(one) and one.is_file())
        if not found:
            raise SourceError(
                f"the folder {path} holds no image and no video; expected {_known_kinds()}"
            )
        return found
    if path.is_file():
        if not _kind_is_known(path):
            raise SourceError(
                f"{path} is neither an image nor a video by its name; expected {_known_kinds()}"
            )
        return [path]
    if any(sign in specification for sign in "*?["):
        matches = sorted(Path(one) for one in glob.glob(specification, recursive=True))  # noqa: PTH207 - absolute patterns too
        found = [one for one in matches if one.is_file() and _kind_is_known(one)]
        if not found:
            raise SourceError(f"the pattern {specification!r} matches no image and no video")
        return found
    neighbours = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    raise SourceError(f"no file or folder at {specification}{did_you_mean(path.name, neighbours)}")


def _kind_is_known(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _known_kinds() -> str:
    return " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
