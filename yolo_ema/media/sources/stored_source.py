"""Image and video files as sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.io.image_header import LARGEST_PIXELS, ImageHeaderError, image_wh
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.media.sources.source import FrameReader, Source
from yolo_ema.media.sources.video_reader import VIDEO_SUFFIXES, VideoReader

__all__ = ["StoredSource"]


@dataclass(frozen=True)
class StoredSource(Source):
    """One image or video file.

    Attributes:
        path: as given.
        max_pixels: the limit for its images.
        file_stem: a name for files in place of its own.
    """

    path: Path
    max_pixels: int = LARGEST_PIXELS
    file_stem: str = ""

    @property
    def name(self) -> str:
        """The path as given."""
        return str(self.path)

    @property
    def stem(self) -> str:
        """The file's name without its suffix, unless there is another for files."""
        return self.file_stem or self.path.stem

    @property
    def is_video(self) -> bool:
        """Whether the file is a video, by its suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def is_live(self) -> bool:
        """Never."""
        return False

    def image_of(self, index: int) -> StoredSource | None:
        """Return this file where it is an image."""
        return None if self.is_video else self

    def open(self) -> FrameReader:
        """Open the file. Raises `SourceError` with the reason where it can't be read."""
        if self.is_video:
            return _VideoFrames(self.name, VideoReader(self.path, max_pixels=self.max_pixels))
        return _ImageReader(self)


class _ImageReader(FrameReader):
    def __init__(self, source: StoredSource) -> None:
        self._source = source
        self._closed = False
        self.frame_count = 1

    @property
    def frame_bytes(self) -> int:
        """The image's size in memory, out of its header; 0 where that can't be read, which the
        reading will tell.
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
            yield Frame(
                read_image(self._source.path, max_pixels=self._source.max_pixels),
                self._source.name,
                0,
                0.0,
            )

    def close(self) -> None:
        self._closed = True


class _VideoFrames(FrameReader):
    def __init__(self, name: str, reader: VideoReader) -> None:
        self._name = name
        self._reader = reader
        self.frame_rate = reader.frame_rate
        self.frame_count = reader.frame_count

    @property
    def damaged_packets(self) -> int:
        """How many packets could not be decoded, so far."""
        return self._reader.damaged_packets

    @property
    def frame_bytes(self) -> int:
        """The size of a frame in memory."""
        width, height = self._reader.image_wh
        return width * height * 3

    def __iter__(self) -> Iterator[Frame]:
        for index, (image_bgr, time_s) in enumerate(self._reader):
            yield Frame(image_bgr, self._name, index, time_s)

    def close(self) -> None:
        self._reader.close()
