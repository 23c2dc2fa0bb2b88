"""When frames are shown: rising times, whatever the container makes of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

_HIGHEST_RATE = 1000
JOIN_S = 10.0
"""In formats whose recordings may be joined end to end, a longer jump of the clock is a join."""
_JITTER_FRAMES = 8


def stated_rate(stream: Any) -> Fraction | None:
    """Return a stream's frames per second; None if it states none, or the ticks of its clock
    instead, as RTSP's 90,000.
    """
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= _HIGHEST_RATE:
            return Fraction(rate)
    return None


class PresentationTimes:
    """The presentation times of a stream, in seconds from its first frame, always rising.

    Some containers hold decoding times only: AVI always, and mp4, mkv or ts of some recorders. With
    B-frames these are attached to other frames than those that are shown then; the packet that
    completes a frame tells when that is due.
    """

    def __init__(self, stream: Any, *, joined: bool, origin_s: float | None = None) -> None:
        """Begin.

        Args:
            stream: whose packets and frames follow.
            joined: the format's recordings may be joined end to end.
            origin_s: the stream's own time of its first frame, where reading begins later; its
                presentation times are known to be sound then.
        """
        self._time_base = stream.time_base
        self._step_s = float(1 / (stated_rate(stream) or Fraction(25)))
        self._codec = stream.codec_context
        self._joined = joined
        self._origin_s = origin_s
        self._delays: set[int] = set() if origin_s is None else {0, 1}
        self._first_ticks: int | None = None
        self._first_due: int | None = None
        self._raw_s: float | None = None
        self._offset_s = self._last_s = 0.0

    def see(self, packet: Any) -> None:
        """Take note of a packet that is about to be decoded."""
        if self._first_ticks is None:
            self._first_ticks = packet.dts if packet.pts is None else packet.pts
        if packet.dts is not None and len(self._delays) < 2:
            self._delays.add(0 if packet.pts is None else packet.pts - packet.dts)

    def of(self, frame: Any) -> float:
        """Return the time of the next frame."""
        ticks, before_s = frame.pts, self._raw_s
        if before_s is None:
            self._first_due = frame.dts
        if len(self._delays) == 1 and self._codec.has_b_frames and self._first_due is not None:
            due = frame.dts
            ticks = None if due is None else due - self._first_due + (self._first_ticks or 0)
        if ticks is not None and self._time_base is not None:
            raw_s = float(ticks * self._time_base)
        else:
            raw_s = 0.0 if before_s is None else before_s + self._step_s
        if before_s is None:
            self._offset_s = -(raw_s if self._origin_s is None else self._origin_s)
        elif -_JITTER_FRAMES * self._step_s <= raw_s - before_s <= 0:  # out of order, or twice
            self._last_s += 1e-6
            return self._last_s
        elif raw_s < before_s or (self._joined and raw_s - before_s > JOIN_S):
            self._offset_s = self._last_s + self._step_s - raw_s
        self._raw_s = raw_s
        due_s = raw_s + self._offset_s
        self._last_s = due_s if before_s is None else max(due_s, self._last_s + 1e-6)
        return self._last_s
