"""Reads a live source: connects to it in a thread, watches it, and reconnects after trouble, for as
long as it is wanted.

Two daemon threads per source. One connects and decodes, and may hang in a library or in the
operating system; the other never waits without a limit, and abandons the first when its time is up.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from yolo_ema.errors import SourceError, SourceRefusedError
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.connection import Connection, ConnectionThread
from yolo_ema.media.sources.frame_queue import FrameQueue
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.source import FrameReader, Source, SourceEvent, SourceStatus
from yolo_ema.media.sources.stall_detector import StallDetector

_TICK_S = 0.05
_LONGEST_HANG_S = 30.0


class LiveReader(FrameReader):
    """The frames of a live source, over all its connections.

    Attributes:
        queue: where its events arrive; `__iter__` takes the frames out of it.
        stride: every so many frames that arrive one is passed on.
    """

    def __init__(
        self, source: Source, connect: Callable[[], Connection], options: NetworkOptions
    ) -> None:
        """Prepare; the connection is made by `start`, or when the first frame is asked for."""
        self.source = source
        self.options = options
        self.stride = 1
        self.queue = FrameQueue(newest_only=not options.every_frame)
        self._connect = connect
        self._attempt: ConnectionThread | None = None
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(
            target=self._watch, name=f"watches {source.name}", daemon=True
        )
        self._status = SourceStatus(source.name, "opening")
        self._stall = StallDetector()
        self._first_at = self._last_at = 0.0
        self._last_time_s = -1.0
        self._size_wh: tuple[int, int] | None = None
        self._damaged = 0
        self._notes: list[str] = []
        self._pixel_aspect: Fraction | None = None

    def start(self) -> None:
        """Begin to connect, in the background."""
        with self._lock:
            if self._watcher.ident is None and not self._closing.is_set():
                self._watcher.start()

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until `close`, or until the source is given up, which raises `SourceError`;
        leaving the loop disconnects.
        """
        self.start()
        with contextlib.closing(self):
            yield from self._frames()

    def _frames(self) -> Iterator[Frame]:
        while not self.queue.closed:
            event = self.queue.take(timeout_s=1.0)
            if event is None:
                continue
            if event.frame is not None:
                yield event.frame
            if event.ended:
                if event.problem:
                    raise SourceError(event.problem)
                return

    def close(self) -> None:
        """Disconnect. Whoever waits for a frame is released at once; what hangs in a library ends
        at its own time limit.
        """
        self._closing.set()
        self.queue.close()
        attempt = self._attempt
        if attempt is not None:
            attempt.abandon()

    def join(self, timeout_s: float) -> None:
        """Wait for both threads to end, for at most ``timeout_s`` in all."""
        until = time.monotonic() + timeout_s
        for thread in (self._watcher, self._attempt):
            started = thread is not None and thread.ident is not None
            if thread is not None and started and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    @property
    def damaged_packets(self) -> int:
        """How many packets or images could not be decoded, over all connections."""
        attempt = self._attempt
        return self._damaged + (attempt.connection.damaged if attempt else 0)

    @property
    def missing_frames(self) -> int:  # type: ignore[override]
        """How many frames a recording behind an address states and does not hold."""
        attempt = self._attempt
        return attempt.connection.missing_frames if attempt else 0

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel divided by its height; None if square or not stated."""
        return self._pixel_aspect

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the frames so far, each once."""
        return self._notes

    @property
    def status(self) -> SourceStatus:
        """How it is doing at this moment."""
        status = replace(self._status, frames_dropped=self.queue.dropped)
        if status.frames_read:
            status = replace(status, seconds_since_frame=time.monotonic() - self._last_at)
        return status

    def _watch(self) -> None:
        """Connect again and again until closed, given up, or read to the end. Runs in the watching
        thread.
        """
        tries, outage_began = 0, time.monotonic()
        while not self._closing.is_set():
            self._damaged = self.damaged_packets
            attempt = self._attempt = ConnectionThread(
                self.source.name, self._connect(), self._arrived
            )
            attempt.start()
            problem = self._trouble_of(attempt)
            attempt.abandon()
            if self._closing.is_set():
                break
            tries += 1
            if attempt.frames:
                outage_began = attempt.alive_at
            # Started over, a recording would deliver the same frames twice.
            if attempt.connection.finite:
                failed = attempt.trouble is not None or not attempt.over.is_set()
                self._end(*(("failed", problem) if failed else ("ended", "")))
                return
            outage_s = time.monotonic() - outage_began
            if reason := self._hopeless(attempt, tries, outage_s):
                self._end("failed", f"{problem}; {reason}")
                return
            self._lost(problem)
            if reason := self._wait_for_next_try(attempt, outage_began):
                self._end("failed", f"{problem}; {reason}")
                return
        self._change(state="ended", problem="")

    def _trouble_of(self, attempt: ConnectionThread) -> str:
        """Wait until a connection ends or patience with it runs out, and return the reason."""
        name, options = self.source.name, self.options
        while not attempt.over.wait(_TICK_S) and not self._closing.is_set():
            now = time.monotonic()
            if not attempt.connected and now - attempt.began_at >= options.open_timeout_s - _TICK_S:
                return f"{name} did not answer within {options.open_timeout_s:g} s"
            waiting = attempt.connected and not attempt.delivering
            if waiting and now - attempt.alive_at >= options.read_timeout_s:
                damaged = attempt.connection.damaged
                only = f", only damaged data ({damaged} images or packets)" if damaged else ""
                return f"{name} delivered no frame for {options.read_timeout_s:g} s{only}"
            if not attempt.delivering:
                self._check_stall(now)
        if isinstance(attempt.trouble, SourceError):
            return str(attempt.trouble)
        if attempt.trouble is not None:  # its text might hold the address
            return f"{name} failed: {type(attempt.trouble).__name__}"
        return f"{name} ended the stream"

    def _hopeless(self, attempt: ConnectionThread, tries: int, outage_s: float) -> str:
        """Return why there is no further attempt, or ""."""
        limit_s, opened = self.options.give_up_after_s, self._status.frames_read > 0
        if not opened and isinstance(attempt.trouble, SourceRefusedError):
            return "given up, since retrying is useless"
        if limit_s is not None:
            return f"given up after {outage_s:.0f} s" if outage_s >= limit_s else ""
        never_came = not opened and tries >= self.options.open_tries
        return f"given up after {tries} attempts" if never_came else ""

    def _wait_for_next_try(self, attempt: ConnectionThread, outage_began: float) -> str:
        """Pause; return why there is no further attempt, or ""."""
        outage_s, limit_s = time.monotonic() - outage_began, self.options.give_up_after_s
        left_s = math.inf if limit_s is None else max(0.0, limit_s - outage_s)
        self._closing.wait(min(self.options.wait_s(outage_s), left_s))
        if limit_s is None:
            limit_s = math.inf if self._status.frames_read else _LONGEST_HANG_S
        # Never two connections at once: cameras allow few, and attempts that hang in the resolver
        # would pile up.
        while attempt.is_alive() and not self._closing.is_set():
            if time.monotonic() - outage_began > limit_s:
                return "given up, since the system does not return from the last attempt"
            attempt.join(_TICK_S)
        return ""

    def _arrived(
        self, attempt: ConnectionThread, image_bgr: np.ndarray, media_time_s: float | None
    ) -> None:
        """Pass a frame on. Runs in the reading thread."""
        now = time.monotonic()
        with self._lock:
            if attempt.abandoned or attempt is not self._attempt:
                return
            notice = self._notice_of(attempt, image_bgr, now)
            self._pixel_aspect = attempt.connection.pixel_aspect
            count = self._status.frames_read
            if count == 0:
                self._first_at = now
            finite = attempt.connection.finite
            self.queue.newest_only = not (self.options.every_frame or finite)
            time_s = media_time_s if finite and media_time_s is not None else now - self._first_at
            self._last_at, self._last_time_s = now, max(time_s, self._last_time_s + 1e-6, 0.0)
            rate = attempt.connection.frame_rate
            self.frame_rate = rate and rate / self.stride
            # A recording behind an address was not taken when it arrived.
            received_s = None if finite else now
            frame = Frame(image_bgr, self.source.name, count, self._last_time_s, received_s)
            stale = self._status.state == "stale" and self._stall.changed_at != now
            self._change(
                frames_read=count + 1, **({} if stale else {"state": "live", "problem": ""})
            )
        if count % self.stride == 0:
            self.queue.put(SourceEvent(self.source, frame, self, problem=notice))
        elif notice:
            self._tell(notice)
        with self._lock:
            # While nobody took the frame, the source could deliver no other.
            self._stall.postpone(time.monotonic() - now)

    def _notice_of(self, attempt: ConnectionThread, image_bgr: np.ndarray, now: float) -> str:
        """Return what is worth telling about a new frame, or ""."""
        notices = []
        self._notes += [note for note in attempt.connection.notes if note not in self._notes]
        if attempt.frames == 0 and self._status.frames_read:
            self._change(reconnects=self._status.reconnects + 1)
            self._stall.restart(now)
            notices.append(f"is back after {now - self._last_at:.1f} s")
        self._stall.look(image_bgr, now)
        height, width = image_bgr.shape[:2]
        if self._size_wh not in {None, (width, height)}:
            before = "x".join(map(str, self._size_wh or ()))
            notices.append(f"changed its frame size from {before} to {width}x{height} pixels")
        self._size_wh = width, height
        return f"{self.source.name} " + ", ".join(notices) if notices else ""

    def _check_stall(self, now: float) -> None:
        with self._lock:
            changed_at, status = self._stall.changed_at, self._status
            limit_s = self.options.stale_after_s
            if status.state != "live" or changed_at is None or now - changed_at < limit_s:
                return
            no_frame = now - self._last_at >= limit_s
            still = "no new frame has arrived" if no_frame else "the image has not changed"
            problem = f"{self.source.name} is stale: {still} for {now - changed_at:.1f} s"
            self._change(state="stale", problem=problem)
        self._tell(problem)

    def _lost(self, problem: str) -> None:
        opened = self._status.frames_read > 0
        known, changed = self._status.problem, self._status.state in {"live", "stale"}
        self._change(state="reconnecting" if opened else "opening", problem=problem)
        if changed or problem != known:  # an outage of an hour is one notice, not hundreds
            self._tell(problem + "; trying again")

    def _end(self, state: str, problem: str) -> None:
        self._change(state=state, problem=problem)
        self.queue.put(SourceEvent(self.source, None, self, ended=True, problem=problem))

    def _tell(self, problem: str) -> None:
        self.queue.put(SourceEvent(self.source, None, self, problem=problem))

    def _change(self, **changes: object) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)  # type: ignore[arg-type]
