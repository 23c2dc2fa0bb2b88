"""Counts frames of a video file that nothing else reports as lost: those behind its last packet, by
what its header states, and those in damaged parts that its container skips silently.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

from yolo_ema.media.sources.presentation_times import JOIN_S, stated_rate

_STATES_ITS_DURATION = ("mov", "avi", "matroska", "flv")
"""Containers whose header tells how long they should be; others are measured by what is there."""
_SKIPS_SILENTLY = "matroska"
_NUMBERS_ITS_PIECES = "mpegts"
"""Its demuxer marks the packet at which a number is missing."""
_SMALLEST_HOLE_BYTES = 256
_TIMES_SETTLE_WITHIN = 50
"""Packets behind a hole may carry wrong times at first."""
_CLOCK = re.compile(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)")


class LostFrames:
    """Follows the packets of a file.

    Attributes:
        in_holes: about how many frames lay in damaged parts that the container skipped, so far:
            where bytes of the file belong to no packet, or the numbering of its pieces breaks,
            and time jumps there or soon after. A recorder that paused leaves neither; segments
            that were joined break the numbering alone.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        """Follow one stream of an open container."""
        self.in_holes = 0
        self._container, self._stream = container, stream
        self._step_s = float(1 / (stated_rate(stream) or Fraction(25)))
        self._may_skip = container.format.name.startswith(_SKIPS_SILENTLY)
        self._may_mark = container.format.name == _NUMBERS_ITS_PIECES
        self._begin_s, self._end_s, self._packets = math.inf, 0.0, 0
        self._end_bytes: int | None = None
        self._usual_bytes = 0.0
        self._decoded_s: float | None = None
        self._packets_since_hole = _TIMES_SETTLE_WITHIN

    def see(self, packet: Any) -> None:
        """Take note of a packet of any stream of the file."""
        is_ours = packet.stream.index == self._stream.index and packet.time_base is not None
        if is_ours and packet.pts is not None:
            after = packet.pts + (packet.duration or 0)
            self._begin_s = min(self._begin_s, float(packet.pts * packet.time_base))
            self._end_s = max(self._end_s, float(after * packet.time_base))
            self._packets += 1
        if self._may_skip and packet.size and packet.pos is not None and packet.pos >= 0:
            self._see_hole(packet)
        if is_ours and packet.size and packet.dts is not None:
            if self._may_mark and packet.is_corrupt:
                self._packets_since_hole = 0
            self._see_jump(packet)

    def _see_hole(self, packet: Any) -> None:
        unread = packet.pos - self._end_bytes if self._end_bytes is not None else 0
        if unread > max(_SMALLEST_HOLE_BYTES, self._usual_bytes):
            self._packets_since_hole = 0
        self._end_bytes = packet.pos + packet.size

    def _see_jump(self, packet: Any) -> None:
        self._usual_bytes += 0.1 * (packet.size - self._usual_bytes)
        self._packets_since_hole += 1
        before_s, self._decoded_s = self._decoded_s, float(packet.dts * packet.time_base)
        steps = (self._decoded_s - before_s) / self._step_s if before_s is not None else 0.0
        is_join = self._may_mark and steps * self._step_s > JOIN_S
        if steps > 1.5 and not is_join and self._packets_since_hole < _TIMES_SETTLE_WITHIN:
            self.in_holes += round(steps) - 1

    def at_end(self, frames: int) -> int:
        """Return how many frames lie behind the last packet, by what the header states, where the
        file holds ``frames`` that can be decoded; it may have been followed from its middle on.
        """
        if not self._packets or not self._container.format.name.startswith(_STATES_ITS_DURATION):
            return 0
        first_s = float((self._stream.start_time or 0) * self._stream.time_base)
        lacking_s = first_s + self.stated_s() - self._end_s
        # Frames may be rarer than the rate says.
        step_s = max(self._step_s, (self._end_s - self._begin_s) / self._packets)
        if lacking_s < 1.5 * step_s:
            return 0
        # An edit list can leave out frames that the index still counts.
        count_fits = abs(self._stream.frames * step_s - self.stated_s()) < 0.1 * self.stated_s()
        return self._stream.frames - frames if count_fits else round(lacking_s / step_s)

    def stated_s(self) -> float:
        """Return how long the stream should be; 0 if the file does not tell."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        # Matroska's, as 00:01:02.500000000
        tagged = _CLOCK.fullmatch(self._stream.metadata.get("DURATION", ""))
        if tagged:
            return int(tagged[1]) * 3600 + int(tagged[2]) * 60 + float(tagged[3])
        # What the whole file states may be the length of its sound.
        alone = len(self._container.streams) == 1
        return (self._container.duration or 0) / 1e6 if alone else 0.0
