"""Hands frames from a thread that reads to the one that detects: bounded, and either lossless or
newest first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from yolo_ema.media.sources.source import SourceEvent

_MOST_NOTICES = 32


class FrameQueue:
    """Events of one lane, in order.

    Attributes:
        newest_only: the next frame replaces one that nobody has taken yet, which is counted;
            otherwise the reader waits.
        dropped: how many frames were replaced.
        on_arrival: called in the reader's thread after every event that is put in.
    """

    def __init__(self, *, newest_only: bool, capacity: int = 4) -> None:
        self.newest_only = newest_only
        self.dropped = 0
        self.on_arrival: Callable[[], object] | None = None
        self._capacity = capacity
        self._events: deque[SourceEvent] = deque()
        self._condition = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: SourceEvent) -> None:
        """Hand over an event; wait for room if no frame may be lost. Ignored after `close`."""
        with self._condition:
            if event.frame is not None and self.newest_only:
                event = self._replacing_unread(event)
            elif event.frame is not None:
                self._condition.wait_for(lambda: self._closed or len(self._events) < self._capacity)
            if self._closed:
                return
            self._events.append(event)
            notices = [event for event in self._events if event.frame is None]
            if len(notices) > _MOST_NOTICES:
                self._events.remove(notices[0])
            self._condition.notify_all()
        if self.on_arrival is not None:
            self.on_arrival()

    def _replacing_unread(self, event: SourceEvent) -> SourceEvent:
        for index, unread in enumerate(self._events):
            if unread.frame is not None:
                del self._events[index]
                self.dropped += 1
                return replace(event, problem=event.problem or unread.problem)
        return event

    def take(self, timeout_s: float = 0) -> SourceEvent | None:
        """Return the oldest event; None if none arrives within ``timeout_s``, or the queue is
        closed and empty.
        """
        with self._condition:
            if not self._events and timeout_s > 0:
                self._condition.wait_for(lambda: self._closed or self._events, timeout_s)
            if not self._events:
                return None
            event = self._events.popleft()
            self._condition.notify_all()
            return event

    def close(self) -> None:
        """Drop what is unread, and release whoever waits."""
        with self._condition:
            self._closed = True
            self._events.clear()
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed
