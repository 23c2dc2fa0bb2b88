"""Image files, video files and pipes as sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_ema.constants import VIDEO_SUFFIXES
from yolo_ema.io.image_header import LARGEST_PIXELS, ImageHeaderError, image_wh
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.media.sources.source import ForwardingReader, FrameReader, Source

if TYPE_CHECKING:
    from yolo_ema.media.sources.video_cuts import VideoSpan
    from yolo_ema.media.sources.video_reader import VideoReader


@dataclass(frozen=True)
class StoredSource(Source):
    """One image or video file.

    Attributes:
        path: as given.
        max_pixels: the limit for its frames.
        file_stem: a name for files to use instead of its own.
        given: a name to show instead of the path, as of a file that was fetched from an address.
        span: only this part of a video.
    """

    path: Path
    max_pixels: int = LARGEST_PIXELS
    file_stem: str = ""
    given: str = ""
    span: VideoSpan | None = None

    @property
    def name(self) -> str:
        """The path as given."""
        return self.given or str(self.path)

    @property
    def stem(self) -> str:
        """The file's name without its suffix, unless ``file_stem`` is set."""
        return self.file_stem or self.path.stem

    @property
    def is_video(self) -> bool:  # type: ignore[override]
        """Whether the file is a video, by its suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    def image_of(self, index: int) -> StoredSource | None:
        """Return this file if it is an image."""
        return None if self.is_video else self

    def open(self) -> FrameReader:
        """Open the file. Raises `SourceError` with the reason if it cannot be read."""
        if self.is_video:
            first_frame = self.span.first_frame if self.span else 0
            return _VideoFrames(self.name, _video_reader(self, self.span), first_frame)
        return _ImageFrame(self)


@dataclass(frozen=True)
class PipeSource(Source):
    """A video that another program writes, and that waits until its frames are taken: standard
    input, or a named pipe.
    """

    path: Path
    given: str
    max_pixels: int = LARGEST_PIXELS
    file_stem: str = ""

    is_video = True

    @property
    def name(self) -> str:
        """As the user gave it."""
        return self.given

    @property
    def stem(self) -> str:
        """``stdin``, or the pipe's name, unless ``file_stem`` is set."""
        return self.file_stem or self.path.stem

    def open(self) -> FrameReader:
        """Start to read. Raises `SourceError` if no video arrives."""
        return _VideoFrames(self.name, _video_reader(self))


def _video_reader(source: StoredSource | PipeSource, span: VideoSpan | None = None) -> VideoReader:
    from yolo_ema.media.sources.video_reader import VideoReader  # brings PyAV, images do without

    return VideoReader(source.path, max_pixels=source.max_pixels, span=span)


class _ImageFrame(FrameReader):
    def __init__(self, source: StoredSource) -> None:
        self._source = source
        self._closed = False
        self.frame_count = 1

    @property
    def frame_bytes(self) -> int:
        """The image's size in memory, from its header; 0 if that cannot be read, which reading it
        will report.
        """
        if self._closed:
            return 0
        try:
            width, height = image_wh(self._source.path, max_pixels=self._source.max_pixels)
        except (ImageHeaderError, OSError):
            return 0
        return width * height * 3

    def __iter__(self) -> Iterator[Frame]:
        if not self._closed:
            self._closed = True
            image_bgr = read_image(self._source.path, max_pixels=self._source.max_pixels)
            yield Frame(image_bgr, self._source.name, 0, 0.0)

    def close(self) -> None:
        self._closed = True


class _VideoFrames(ForwardingReader):
    def __init__(self, name: str, reader: VideoReader, first_frame: int = 0) -> None:
        self._name = name
        self._reader = reader
        self._first_frame = first_frame
        self.frame_rate = reader.frame_rate
        self.frame_count = reader.frame_count

    @property
    def frame_bytes(self) -> int:
        """The size of a frame in memory."""
        width, height = self._reader.image_wh
        return width * height * 3

    def __iter__(self) -> Iterator[Frame]:
        for index, (image_bgr, time_s) in enumerate(self._reader, self._first_frame):
            yield Frame(image_bgr, self._name, index, time_s)
