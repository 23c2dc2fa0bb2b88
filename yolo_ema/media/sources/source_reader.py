"""Reads several sources at once: files one after the other, decoded ahead; every camera and stream
on its own.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.frame_queue import FrameQueue
from yolo_ema.media.sources.frame_selection import FrameSelection
from yolo_ema.media.sources.live_reader import LiveReader
from yolo_ema.media.sources.source import FrameReader, Source, SourceEvent, SourceStatus

__all__ = ["SourceEvent", "SourceReader", "SourceStatus"]

_TICK_S = 0.1
_LOOK_AHEAD_FRAMES = 4
_LOOK_AHEAD_BYTES = 256 << 20
_ALL = FrameSelection()


class SourceReader:
    """What arrives from several sources, as it arrives.

    Images and videos share one lane, in which they are read in order and without loss; every camera
    and stream has a lane of its own. Lanes take turns. What happens to one source never ends
    another.

    Examples:
        >>> from yolo_ema import SourceReader, open_sources
        >>> with SourceReader(open_sources(["junction.jpg", "flight.mp4"])) as reader:
        ...     frames = [event.frame for event in reader if event.frame is not None]
        >>> len(frames)
        9
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        every_frame: bool = False,
        selection: FrameSelection = _ALL,
    ) -> None:
        """Prepare; nothing is opened before the context is entered.

        Args:
            sources: see `open_sources`.
            every_frame: let cameras and streams wait rather than drop frames.
            selection: which frames to take.
        """
        stored = [source for source in sources if not source.is_live]
        self._lanes: list[_FileLane | _LiveLane] = [_FileLane(stored, selection)] if stored else []
        live = [source for source in sources if source.is_live]
        self._lanes += [
            _LiveLane(source, every_frame=every_frame, stride=selection.stride) for source in live
        ]
        self._arrived = threading.Event()
        self._stopping = False
        self._next = 0

    def __enter__(self) -> SourceReader:
        for lane in self._lanes:
            lane.queue.on_arrival = self._arrived.set
            lane.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for lane in self._lanes:
            lane.close()
        until = time.monotonic() + 0.5  # threads that hang in a library end by themselves
        for lane in self._lanes:
            lane.join(max(0.0, until - time.monotonic()))

    def __iter__(self) -> Iterator[SourceEvent]:
        """Yield events until every source has ended or `stop` is called; then the ends of the
        sources that had begun.

        A source's frames arrive in order. Its last event has ``ended`` set, after `stop` too.
        """
        while not self._stopping:
            event = self._take()
            if event is not None:
                yield event
            elif all(lane.over for lane in self._lanes):
                return
        yield from (event for lane in self._lanes for event in lane.final_events())

    def _take(self) -> SourceEvent | None:
        """Return the next event of the lane whose turn it is; None if nothing arrives soon."""
        self._arrived.clear()
        if (event := self._first_waiting()) is not None:
            return event
        self._arrived.wait(_TICK_S)
        return self._first_waiting()

    def _first_waiting(self) -> SourceEvent | None:
        for step in range(len(self._lanes)):
            lane = (self._next + step) % len(self._lanes)
            event = self._lanes[lane].take()
            if event is not None:
                self._next = lane + 1
                return event
            # This lane's turn, and it has nothing: an image above the look-ahead may be decoded.
            self._lanes[lane].wanted = True
        return None

    def status(self) -> list[SourceStatus]:
        """Return the state of every camera and stream, and of the file that is being read; from
        any thread.
        """
        return [lane.status for lane in self._lanes]

    def stop(self) -> None:
        """End the iteration soon. From any thread, and from signal handlers: it takes no lock."""
        self._stopping = True


class _LiveLane:
    """A camera or stream."""

    def __init__(self, source: Source, *, every_frame: bool, stride: int) -> None:
        reader = source.open()
        if not isinstance(reader, LiveReader):
            raise TypeError(f"{source.name} is live but opens as {type(reader).__name__}")
        if every_frame:
            reader.options = replace(reader.options, every_frame=True)
            reader.queue.newest_only = False
        reader.stride = stride
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


class _FileLane:
    """Images and videos, one after the other, decoded by a thread a few frames ahead."""

    def __init__(self, sources: Sequence[Source], selection: FrameSelection) -> None:
        self.queue = FrameQueue(newest_only=False, capacity=_LOOK_AHEAD_FRAMES)
        self.wanted = False
        self.over = False
        self._sources, self._selection = sources, selection
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
            known = event.source.name == self._status.name
            read = (self._status.frames_read if known else 0) + (event.frame is not None)
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
                reader = self._reading = self._selection.open(source)
                self._read(source, reader)
            except SourceError as error:
                problem = str(error)
            except Exception as error:  # reported as this source's end; the others continue
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
        """Wait while too much is decoded and still in use, unless detection waits for this lane;
        return False once closed.
        """
        while not self.queue.closed:
            if self._ahead.bytes_in_use() + more_bytes <= _LOOK_AHEAD_BYTES or (
                self.wanted and not len(self.queue)
            ):
                return True
            time.sleep(0.005)
        return False


class _FrameMemory:
    """How many bytes of decoded frames are still referenced anywhere."""

    def __init__(self) -> None:
        self._in_use = 0
        # appended to wherever the last reference goes, hence without a lock
        self._given_back: deque[int] = deque()

    def count(self, image_bgr: np.ndarray) -> None:
        self._in_use += image_bgr.nbytes
        weakref.finalize(image_bgr, self._given_back.append, image_bgr.nbytes).atexit = False

    def bytes_in_use(self) -> int:
        while self._given_back:
            self._in_use -= self._given_back.popleft()
        return self._in_use
