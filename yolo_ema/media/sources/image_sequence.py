"""A folder of images that are the frames of one flight, as VisDrone's video and tracking sequences
are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from yolo_ema.errors import SourceError
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.source import FrameReader, Source
from yolo_ema.media.sources.stored_source import StoredSource

_NUMBER = re.compile("([0-9]+)")


@dataclass(frozen=True)
class ImageSequence(Source):
    """The images of one folder, in natural order, as the frames of a video.

    Attributes:
        folder: where they are.
        images: two or more.
        rate: frames per second.
        file_stem: a name for files to use instead of the folder's.
        given: a name to show instead of the folder, as of images fetched from an address.
    """

    folder: Path
    images: tuple[StoredSource, ...]
    rate: Fraction
    file_stem: str = ""
    given: str = ""

    is_video = True

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder

    @property
    def name(self) -> str:
        """The folder as given."""
        return self.given or str(self.folder)

    @property
    def stem(self) -> str:
        """The folder's own name."""
        return self.file_stem or Path(os.path.abspath(self.folder)).name or "sequence"  # noqa: PTH100 - links stay

    @property
    def last_s(self) -> float:
        """When the last image is shown, in seconds from the first one."""
        return float((len(self.images) - 1) / self.rate)

    def image_of(self, index: int) -> StoredSource:
        """Return the image that a frame was read from."""
        return self.images[index]

    def open(self, takes: Callable[[int, float], bool] = lambda index, time_s: True) -> FrameReader:
        """Return the frames that are taken, by their number and time; each image is opened when it
        is its turn, and others never.
        """
        times = [float(index / self.rate) for index in range(len(self.images))]
        return _SequenceReader(self, [pair for pair in enumerate(times) if takes(*pair)])


class _SequenceReader(FrameReader):
    def __init__(self, source: ImageSequence, taken: Sequence[tuple[int, float]]) -> None:
        self._source, self._taken = source, taken
        self._next = 0
        self._closed = False
        self.frame_rate = source.rate
        self.frame_count = len(source.images)

    @property
    def frame_bytes(self) -> int:
        """The size of the next image in memory."""
        if self._closed or self._next >= len(self._taken):
            return 0
        return self._source.image_of(self._taken[self._next][0]).open().frame_bytes

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images that can be read, numbered by their place among all of them.

        Raises:
            SourceError: if one could not be read, after all others.
        """
        unreadable: list[str] = []
        for number, (index, time_s) in enumerate(self._taken, start=1):
            if self._closed:
                return
            self._next = number
            try:
                image_bgr = next(iter(self._source.image_of(index).open())).image_bgr
            except SourceError as error:
                unreadable.append(str(error))
                continue
            yield Frame(image_bgr, self._source.name, index, time_s)
        if unreadable:
            raise SourceError(
                f"{len(unreadable)} of {len(self._taken)} images of {self._source.name} "
                f"could not be read and were skipped; the first: {unreadable[0]}"
            )

    def close(self) -> None:
        self._closed = True


def as_sequences(sources: Sequence[Source], rate: Fraction) -> list[Source]:
    """Join the images of each folder to one sequence if there are two or more; leave everything
    else as it is.

    A sequence comes where its folder's first image stood.
    """
    by_folder: dict[Path, list[StoredSource]] = {}
    for source in dict.fromkeys(sources):
        if isinstance(source, StoredSource) and not source.is_video:
            by_folder.setdefault(source.path.parent, []).append(source)
    joined: list[Source] = []
    for source in dict.fromkeys(sources):
        images: list[StoredSource] = []
        if isinstance(source, StoredSource) and not source.is_video:
            images = by_folder[source.path.parent]
        if len(images) < 2:
            joined.append(source)
        elif source == images[0]:
            ordered = sorted(images, key=lambda image: natural_order(image.path.name))
            joined.append(ImageSequence(source.path.parent, tuple(ordered), rate))
    return joined


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts ``frame10`` after ``frame9``, whatever the case of their letters."""
    # Split at its groups, a text gives words and numbers by turns; isdecimal would take ٣, too.
    parts = enumerate(_NUMBER.split(name))
    return [int(part) if place % 2 else part.casefold() for place, part in parts], name
