"""What the page shows of every source: the newest image, counts, rates and problems."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from yolo_ema.media.drawing.style import class_colour_bgr
from yolo_ema.media.frames import FrameDetections

_MOST_IMAGES = 16
"""Sources whose newest image is kept; a folder of images would fill the memory otherwise."""
_MOST_STATUSES = 64
_RATE_OVER_S = 5.0
_WIDTHS = (480, 800, 1280, 1920)
_JPEG_QUALITY = 82


@dataclass
class _Channel:
    number: int
    name: str
    sequence: int = 0
    image_bgr: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    shown_at: deque[float] = field(default_factory=lambda: deque(maxlen=300))
    encoded: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    encoding: threading.Lock = field(default_factory=threading.Lock)

    def rate(self, now: float) -> float:
        """Return frames per second over the last seconds."""
        recent = [moment for moment in self.shown_at if now - moment <= _RATE_OVER_S]
        return (len(recent) - 1) / (now - recent[0]) if len(recent) > 1 else 0.0


class LiveState:
    """Takes frames from detection without making it wait, and serves any number of viewers."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._channels: dict[str, _Channel] = {}
        self._statuses: list[dict[str, Any]] = []
        self._revision = self._numbers = 0
        self.ended = False

    def publish(
        self,
        found: FrameDetections,
        image_bgr: np.ndarray,
        on_map: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a source's newest image, and what it shows on the map; nothing is encoded until a
        viewer asks.
        """
        class_ids, counts = np.unique(found.class_ids, return_counts=True)
        classes = [
            {"name": found.names[class_id], "count": count, "colour": _hex(class_id)}
            for class_id, count in zip(class_ids.tolist(), counts.tolist(), strict=True)
        ]
        width, height = found.frame.image_wh
        facts = {
            "frame": found.frame.index,
            "time_s": round(found.frame.time_s, 2),
            "objects": len(found),
            "classes": classes,
        }
        if on_map is not None:
            facts["map"] = on_map
        with self._news:
            channel = self._channels.pop(found.frame.source, None) or self._new_channel(
                found.frame.source
            )
            self._channels[channel.name] = channel  # the last is the newest
            channel.sequence += 1
            channel.image_bgr, channel.facts = (
                image_bgr,
                facts | {"width": width, "height": height},
            )
            channel.shown_at.append(time.monotonic())
            if len(self._channels) > _MOST_IMAGES:
                del self._channels[next(iter(self._channels))]
            self._changed()

    def _new_channel(self, name: str) -> _Channel:
        self._numbers += 1
        return _Channel(self._numbers, name)

    def publish_status(self, statuses: Sequence[Mapping[str, Any]]) -> None:
        """Take the state of the sources, the values of `SourceStatus` by name."""
        with self._news:
            self._statuses = [dict(status) for status in statuses]
            self._changed()

    def end(self) -> None:
        """Say that nothing more will come."""
        with self._news:
            self.ended = True
            self._changed()

    def _changed(self) -> None:
        self._revision += 1
        self._news.notify_all()

    def state(self, after: int, timeout_s: float) -> dict[str, Any]:
        """Return everything but the images, as soon as there is something newer than revision
        ``after``, or at the timeout.
        """
        with self._news:
            self._news.wait_for(lambda: self._revision > after or self.ended, timeout_s)
            now = time.monotonic()
            by_name = {status["name"]: status for status in self._statuses}
            first = list(by_name)[:_MOST_STATUSES]
            names = list(dict.fromkeys([*first, *sorted(self._channels, key=self._order)]))
            sources = [self._source(name, by_name.get(name, {}), now) for name in names]
            left_out = len(set(by_name) - set(names))
            return {
                "revision": self._revision,
                "ended": self.ended,
                "sources": sources,
                "left_out": left_out,
            }

    def _order(self, name: str) -> int:
        return self._channels[name].number

    def _source(self, name: str, status: Mapping[str, Any], now: float) -> dict[str, Any]:
        channel = self._channels.get(name)
        shown: dict[str, Any] = {
            "name": name,
            "state": "live",
            "id": None,
            "sequence": 0,
            "rate": 0.0,
        }
        if channel is not None:
            seconds = round(now - channel.shown_at[-1], 1)
            shown |= {
                "id": channel.number,
                "sequence": channel.sequence,
                "rate": round(channel.rate(now), 1),
            }
            shown |= channel.facts | {"seconds_since_frame": seconds}
        return shown | {key: value for key, value in status.items() if value is not None}

    def image(self, number: int, width: int) -> tuple[int, bytes] | None:
        """Return a source's newest image as JPEG with its sequence number, at most about ``width``
        pixels wide; None if there is none.

        It is encoded once for all viewers, in the thread of the first one.
        """
        with self._news:
            channel = {channel.number: channel for channel in self._channels.values()}.get(number)
        if channel is None:
            return None
        width = next((offered for offered in _WIDTHS if offered >= width), _WIDTHS[-1])
        with channel.encoding:
            with self._news:
                sequence, image = channel.sequence, channel.image_bgr
            if image is None:
                return None
            known = channel.encoded.get(width)
            if known is None or known[0] != sequence:
                known = channel.encoded[width] = (sequence, _jpeg(image, width))
            return known


def _jpeg(image_bgr: np.ndarray, width: int) -> bytes:
    if image_bgr.shape[1] > width:
        height = max(1, round(image_bgr.shape[0] * width / image_bgr.shape[1]))
        image_bgr = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()


def _hex(class_id: int) -> str:
    blue, green, red = class_colour_bgr(class_id)
    return f"#{red:02x}{green:02x}{blue:02x}"
