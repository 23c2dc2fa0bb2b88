"""Where frames come from: image files, folders of images and videos, and video files."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from yolo_ema.errors import SourceError, did_you_mean
from yolo_ema.footage.frames import Frame
from yolo_ema.footage.images import IMAGE_SUFFIXES, read_image
from yolo_ema.footage.video import VIDEO_SUFFIXES, VideoReader
from yolo_ema.image_header import LARGEST_PIXELS

__all__ = ["Source", "open_sources"]


@dataclass(frozen=True)
class Source:
    """One image or video file."""

    path: Path
    max_pixels: int = LARGEST_PIXELS

    @property
    def is_video(self) -> bool:
        """Whether the source moves."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    def open(self) -> Footage:
        """Open the file. Raises `SourceError` with the reason where it can't be read."""
        if self.is_video:
            return Footage(self, VideoReader(self.path))
        return Footage(self, None)


class Footage:
    """An opened source: iterate over it for its frames."""

    def __init__(self, source: Source, reader: VideoReader | None) -> None:
        self._source = source
        self._reader = reader
        self.frame_rate: Fraction | None = reader.frame_rate if reader else None
        self.frame_count = reader.frame_count if reader else 1

    @property
    def damaged_packets(self) -> int:
        """How many packets of a video could not be decoded, so far."""
        return self._reader.damaged_packets if self._reader else 0

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order. Raises `SourceError` where a file turns out to be damaged."""
        name = str(self._source.path)
        if self._reader is None:
            yield Frame(read_image(self._source.path, max_pixels=self._source.max_pixels), name, 0, 0.0)
            return
        for index, (image_bgr, time_s) in enumerate(self._reader):
            yield Frame(image_bgr, name, index, time_s)


def open_sources(specifications: Sequence[str], *, max_pixels: int = LARGEST_PIXELS) -> list[Source]:
    """Turn paths, folders and patterns into sources, in the order given and sorted by name within a folder.

    Args:
        specifications: image files, video files, folders (all images and videos below them), or patterns such as ``flight/*.jpg``.
        max_pixels: the limit for images, see `read_image`.

    Raises:
        SourceError: a path does not exist, a pattern matches nothing, a folder holds neither image nor video, or a file is of
            another kind.
    """
    paths = [path for one in specifications for path in _paths_of(one)]
    return [Source(path, max_pixels) for path in dict.fromkeys(paths)]


def _paths_of(specification: str) -> list[Path]:
    path = Path(specification)
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if _kind_is_known(one) and one.is_file())
        if not found:
            raise SourceError(f"the folder {path} holds no image and no video; expected {_known_kinds()}")
        return found
    if path.is_file():
        if not _kind_is_known(path):
            raise SourceError(f"{path} is neither an image nor a video by its name; expected {_known_kinds()}")
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
