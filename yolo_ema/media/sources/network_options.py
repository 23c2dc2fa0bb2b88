"""How long to wait for a camera or stream, and how often to retry."""

from __future__ import annotations

import random
from dataclasses import dataclass

from yolo_ema.errors import ConfigError
from yolo_ema.options.detect import RTSP_TRANSPORTS

__all__ = ["NetworkOptions"]


@dataclass(frozen=True)
class NetworkOptions:
    """Patience with live sources.

    Attributes:
        open_timeout_s: give up an attempt to connect after this time.
        read_timeout_s: reconnect if no new frame has arrived for this time.
        stale_after_s: a source counts as stale if no new frame, or always the same image, has
            arrived for this time.
        first_wait_s: the pause before the first retry.
        wait_share: later pauses are this share of the outage so far, so that they grow
            exponentially and a short outage ends soon after the server is back; each is randomly
            lengthened or shortened by up to a fifth.
        longest_wait_s: the longest pause.
        open_tries: give up a source that has never delivered a frame after this many attempts,
            unless ``give_up_after_s`` is set.
        give_up_after_s: give up a source after an outage this long, at the start too; None: never,
            once it has delivered a frame.
        every_frame: let the source wait rather than drop frames that nobody has taken.
        rtsp_transport: the transport of RTSP streams.

    Examples:
        >>> from yolo_ema import NetworkOptions, open_sources
        >>> network = NetworkOptions(read_timeout_s=5, rtsp_transport="udp")
        >>> [source.is_live for source in open_sources(["rtsp://10.0.0.7/live"], network=network)]
        [True]
    """

    open_timeout_s: float = 3.0
    read_timeout_s: float = 3.0
    stale_after_s: float = 4.5
    first_wait_s: float = 0.25
    wait_share: float = 0.125
    longest_wait_s: float = 10.0
    open_tries: int = 3
    give_up_after_s: float | None = None
    every_frame: bool = False
    rtsp_transport: str = "tcp"

    def __post_init__(self) -> None:
        """Check the values. Raises `ConfigError`."""
        seconds = (
            "open_timeout_s",
            "read_timeout_s",
            "stale_after_s",
            "first_wait_s",
            "wait_share",
            "longest_wait_s",
        )
        wrong = [
            f"{name} is {getattr(self, name)}" for name in seconds if not getattr(self, name) > 0
        ]
        if wrong:
            raise ConfigError(f"{', '.join(wrong)}; expected more than 0")
        if self.open_tries < 1:
            raise ConfigError(f"open_tries is {self.open_tries}; expected 1 or more")
        if self.give_up_after_s is not None and not self.give_up_after_s > 0:
            raise ConfigError(
                f"give_up_after_s is {self.give_up_after_s}; expected more than 0, or None for "
                f"never"
            )
        if self.rtsp_transport not in RTSP_TRANSPORTS:
            raise ConfigError(
                f"rtsp_transport is {self.rtsp_transport!r}; expected one of "
                f"{', '.join(RTSP_TRANSPORTS)}"
            )

    def wait_s(self, outage_s: float) -> float:
        """Return how long to wait before the next attempt, after an outage this long."""
        wait = min(self.longest_wait_s, max(self.first_wait_s, self.wait_share * outage_s))
        return wait * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, so that many clients don't come back at once; no secret
