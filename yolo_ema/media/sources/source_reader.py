"""Several sources at once: files one after the other, decoded ahead; every camera and stream by
itself.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.frame_queue import FrameQueue
from yolo_ema.media.sources.live_reader import LiveReader
from yolo_ema.media.sources.source import FrameReader, Source, SourceEvent, SourceStatus

__all__ = ["SourceEvent", "SourceReader", "SourceStatus"]

_TICK_S = 0.1
_LOOK_AHEAD_FRAMES = 4
_LOOK_AHEAD_BYTES = 256 << 20


class SourceReader:
    """What arrives from several sources, as it arrives.

    Images and videos form one feed that runs them in order and loses nothing; each camera and
    stream is a feed of its own. SourceReader take turns. What happens to one source never ends another.

    Example:
        >>> with SourceReader(open_sources(["flight/", "rtsp://10.0.0.7/live"])) as feeds:
        ...     for event in feeds:
        ...         if event.frame is not None:
        ...             print(event.source.name, event.frame.index)
    """

    def __init__(self, sources: Sequence[Source], *, every_frame: bool = False) -> None:
        """Prepare; nothing is opened before the context is entered.

        Args:
            sources: see `open_sources`.
            every_frame: let cameras and streams wait rather than drop frames.
        """
        stored = [one for one in sources if not one.is_live]
        self._feeds: list[_FileQueue | _LiveQueue] = [_FileQueue(stored)] if stored else []
        self._feeds += [_LiveQueue(one, every_frame=every_frame) for one in sources if one.is_live]
        self._arrived = threading.Event()
        self._stopping = False
        self._next = 0

    def __enter__(self) -> SourceReader:
        for feed in self._feeds:
            feed.queue.on_arrival = self._arrived.set
            feed.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        for feed in self._feeds:
            feed.close()
        until = time.monotonic() + 0.5  # threads that hang in a library end by themselves
        for feed in self._feeds:
            feed.join(max(0.0, until - time.monotonic()))

    def __iter__(self) -> Iterator[SourceEvent]:
        """Yield events until every source has ended, or `stop` is called; then the ends of the
        sources that had begun.

        A source's frames come in order. Its last event has ``ended``, also after `stop`.
        """
        while not self._stopping:
            event = self._take()
            if event is not None:
                yield event
            elif all(feed.over for feed in self._feeds):
                return
        yield from (event for feed in self._feeds for event in feed.final_events())

    def _take(self) -> SourceEvent | None:
        """Return the next event of the feed whose turn it is; None where nothing comes for a
        moment.
        """
        self._arrived.clear()
        if (event := self._first_waiting()) is not None:
            return event
        self._arrived.wait(_TICK_S)
        return self._first_waiting()

    def _first_waiting(self) -> SourceEvent | None:
        for step in range(len(self._feeds)):
            at = (self._next + step) % len(self._feeds)
            event = self._feeds[at].take()
            if event is not None:
                self._next = at + 1
                return event
            self._feeds[
                at
                # it is its turn and it has nothing: an image above the look-ahead may be decoded
            ].wanted = True
        return None

    def status(self) -> list[SourceStatus]:
        """Return how every camera and stream is doing, and the file that is being read; from any
        thread.
        """
        return [feed.status for feed in self._feeds]

    def stop(self) -> None:
        """End the iteration within a moment. From any thread, and from a signal handler: it takes
        no lock.
        """
        self._stopping = True


class _LiveQueue:
    """A camera or stream."""

    def __init__(self, source: Source, *, every_frame: bool) -> None:
        reader = source.open()
        if not isinstance(reader, LiveReader):
            raise TypeError(
                f"{source.name} says that it is live, and opens as {type(reader).__name__}"
            )
        if every_frame:
            reader.options = replace(reader.options, every_frame=True)
            reader.queue.newest_only = False
        self.reader = reader
        self.queue: FrameQueue = reader.queue
        self.wanted = False
        self.over = False

    def start(self) -> None:
        self.reader.start()

    def take(self) -> SourceEvent | None:
        event = self.queue.take()
        if event is not None and event.ended:
            self.over = True
        return event

    def final_events(self) -> Iterator[SourceEvent]:
        if not self.over:
            self.over = True
            self.close()
            yield SourceEvent(self.reader.source, None, self.reader, ended=True)

    def close(self) -> None:
        self.reader.close()

    def join(self, timeout_s: float) -> None:
        self.reader.join(timeout_s)

    @property
    def status(self) -> SourceStatus:
        return self.reader.status


class _FileQueue:
    """Images and videos, one after the other, decoded by a thread a few frames ahead."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.queue = FrameQueue(newest_only=False, capacity=_LOOK_AHEAD_FRAMES)
        self.wanted = False
        self.over = False
        self._sources = sources
        self._ahead = _FrameMemory()
        self._thread = threading.Thread(target=self._run, name="reads files", daemon=True)
        self._reading: FrameReader | None = None
        self._begun: tuple[Source, FrameReader | None] | None = None
        self._left = len(sources)
        self._status = SourceStatus(sources[0].name, "opening")
        self._last_at = 0.0

    def start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def take(self) -> SourceEvent | None:
        event = self.queue.take()
        if event is None:
            return None
        if event.ended:
            self._left -= 1
            self.over = self._left == 0
            self._begun = None
            self._status = replace(self._status, name=event.source.name, problem=event.problem)
            self._status = replace(self._status, state="failed" if event.problem else "ended")
        else:
            self.wanted = False
            self._begun = (event.source, event.reader)
            read = self._status.frames_read + 1 if event.source.name == self._status.name else 1
            self._status = SourceStatus(event.source.name, "live", frames_read=read)
            self._last_at = time.monotonic()
        return event

    def final_events(self) -> Iterator[SourceEvent]:
        self.over = True
        self.close()
        if self._begun is not None:
            source, reader = self._begun
            self._begun = None
            yield SourceEvent(source, None, reader, ended=True)

    def close(self) -> None:
        self.queue.close()
        if self._reading is not None:
            self._reading.close()

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def status(self) -> SourceStatus:
        status = self._status
        return (
            replace(status, seconds_since_frame=time.monotonic() - self._last_at)
            if status.frames_read
            else status
        )

    def _run(self) -> None:
        for source in self._sources:
            if self.queue.closed:
                return
            problem, reader = "", None
            try:
                reader = self._reading = source.open()
                self._read(source, reader)
            except SourceError as error:
                problem = str(error)
            except Exception as error:  # said as this source's end; the others go on
                problem = f"{source.name} failed: {type(error).__name__}: {error}"
            self.queue.put(SourceEvent(source, None, reader, ended=True, problem=problem))

    def _read(self, source: Source, reader: FrameReader) -> None:
        frames = iter(reader)
        while self._may_decode(reader.frame_bytes):
            frame = next(frames, None)
            if frame is None:
                return
            self._ahead.count(frame.image_bgr)
            self.queue.put(SourceEvent(source, frame, reader))
            del frame

    def _may_decode(self, more_bytes: int) -> bool:
        """Wait while too much is decoded and still in use, unless the one who detects waits for us;
        False once closed.
        """
        while not self.queue.closed:
            if self._ahead.bytes_in_use() + more_bytes <= _LOOK_AHEAD_BYTES or (
                self.wanted and not len(self.queue)
            ):
                return True
            time.sleep(0.005)
        return False


class _FrameMemory:
    """How much of what was decoded is still in somebody's hands."""

    def __init__(self) -> None:
        self._in_use = 0
        self._given_back: deque[int] = (
            deque()
        )  # appended to wherever the last reference goes, so without a lock

    def count(self, image_bgr: np.ndarray) -> None:
        self._in_use += image_bgr.nbytes
        weakref.finalize(image_bgr, self._given_back.append, image_bgr.nbytes).atexit = False

    def bytes_in_use(self) -> int:
        while self._given_back:
            self._in_use -= self._given_back.popleft()
        return self._in_use
