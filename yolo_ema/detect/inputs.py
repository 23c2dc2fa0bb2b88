"""What `Detector` takes from Python code: paths, arrays, and lists and generators of these."""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.errors import ConfigError, SourceError
from yolo_ema.media.frames import Frame, exact_rate
from yolo_ema.media.sources.frame_selection import FrameSelection
from yolo_ema.media.sources.open_sources import NetworkOptions, open_sources
from yolo_ema.media.sources.source import FrameReader, Source, SourceEvent
from yolo_ema.media.sources.source_reader import SourceReader
from yolo_ema.options.detector import DetectorConfig

Image = np.ndarray | str | Path
Place = str | Path | int
_BGR = "(H, W, 3) uint8 in BGR order"


def frame_of(image: Image, max_pixels: int) -> Frame:
    """Return an array, or the image file at a path, as a frame.

    Raises:
        SourceError: it cannot be read, is not a single image, or has another shape or type.
    """
    if isinstance(image, np.ndarray):
        return Frame(_checked(image), "array", 0, 0.0)
    if not isinstance(image, str | Path):
        raise SourceError(
            f"a {type(image).__name__} is given; expected an array {_BGR}, a path, or a list of "
            f"these"
        )
    sources = open_sources([str(image)], max_pixels=max_pixels)
    if len(sources) != 1 or sources[0].is_video:
        name = (
            sources[0].name
            if len(sources) == 1
            else f"{image}, which holds {len(sources)} images and videos,"
        )
        raise SourceError(
            f"{name} is not one image; use Detector.stream for folders, patterns, videos and live "
            f"sources"
        )
    return next(iter(sources[0].open()))


def readable_frames(
    images: Sequence[Image], max_pixels: int, problems: list[str]
) -> Iterator[tuple[int, Frame]]:
    """Yield the images of a list that can be read, with their places in it; say in ``problems``
    what is wrong with the others.
    """
    for index, image in enumerate(images):
        try:
            frame = frame_of(image, max_pixels)
        except SourceError as error:  # noqa: PERF203 - one image does not stop the others
            problems.append(f"image {index}: {error}")
        else:
            yield index, frame


def selection_of(config: DetectorConfig) -> FrameSelection:
    """Return which frames of videos are taken."""
    end_s = math.inf if config.end is None else config.end
    return FrameSelection(config.vid_stride, config.start, end_s)


@contextlib.contextmanager
def open_events(
    given: Place | Iterable[Place] | Iterable[np.ndarray],
    config: DetectorConfig,
    *,
    every_frame: bool,
    fps: float,
) -> Iterator[Iterable[SourceEvent]]:
    """Open what `Detector.stream` is given, and yield the events of it.

    Raises:
        ConfigError: the rate is none.
        SourceError: it is neither sources nor frames, or a source does not exist.
    """
    names, frames = _names_or_frames(given)
    if not 0 < fps < math.inf:
        raise ConfigError(f"fps is {fps}; expected frames per second above 0")
    rate = exact_rate(fps)
    if frames is not None:
        yield _ArraySource(frames, rate).events(selection_of(config))
        return
    sources = open_sources(
        names,
        max_pixels=config.max_pixels,
        network=NetworkOptions(every_frame=every_frame),
        sequence_rate=rate if config.tracks else None,
    )
    selection = selection_of(config)
    if aside := selection.left_aside(sources):
        warnings.warn(aside, stacklevel=6)  # at the caller of `stream`
    with SourceReader(sources, every_frame=every_frame, selection=selection) as reader:
        yield reader


def _names_or_frames(given: Any) -> tuple[list[str], Iterable[Any] | None]:
    """Return the names of sources and None; or no names and frames, which stay a list or a
    generator.
    """
    if isinstance(given, str | Path | int):
        return [str(given)], None
    if isinstance(given, np.ndarray):
        return [], given if given.ndim == 4 else [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise SourceError(
            f"a {type(given).__name__} is given; expected paths, addresses, camera numbers, or "
            f"frames as arrays {_BGR}"
        )
    items: Iterable[Any] = given
    if isinstance(given, Sequence):
        first = list(given[:1])
    else:
        iterator = iter(given)
        first = list(itertools.islice(iterator, 1))
        items = itertools.chain(first, iterator)
    if first and isinstance(first[0], np.ndarray):
        return [], items
    return [str(_place(item)) for item in items], None


def _place(item: Any) -> Place:
    if not isinstance(item, str | Path | int):
        raise SourceError(
            f"a {type(item).__name__} is among the sources; expected paths, addresses and camera "
            f"numbers, or frames alone"
        )
    return item


class _ArraySource(Source):
    """Frames that Python code makes, as one moving source.

    Frames of a list are there already and may be run side by side; those of a generator are taken
    one at a time, each only when the last one is done.
    """

    name = "array"
    stem = "array"
    is_video = True
    is_live = False

    def __init__(self, frames: Iterable[np.ndarray], frame_rate: Fraction) -> None:
        self.is_live = not isinstance(frames, Sequence | np.ndarray)
        self._frames, self._frame_rate = frames, frame_rate

    def open(self) -> FrameReader:
        """Return the frames."""
        return _ArrayReader(self._frames, self._frame_rate)

    def events(self, selection: FrameSelection) -> Iterator[SourceEvent]:
        """Yield the frames and the end as `SourceReader` does, but in this thread: a generator is
        run where it was made.
        """
        reader = selection.open(self)
        for frame in reader:
            yield SourceEvent(self, frame, reader)
        yield SourceEvent(self, None, reader, ended=True)


class _ArrayReader(FrameReader):
    def __init__(self, frames: Iterable[np.ndarray], frame_rate: Fraction) -> None:
        self.frame_rate: Fraction = frame_rate
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._frames):
            if not isinstance(image, np.ndarray):
                raise SourceError(
                    f"frame {index} is a {type(image).__name__}; expected an array {_BGR}"
                )
            yield Frame(_checked(image), "array", index, float(index / self.frame_rate))

    def close(self) -> None:
        """Nothing to do."""


def _checked(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise SourceError(
            f"an array of shape {image.shape} and type {image.dtype} is given; expected {_BGR}"
        )
    return image
