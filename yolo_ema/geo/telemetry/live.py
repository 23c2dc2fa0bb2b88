"""Where the camera of a live source is: MAVLink as it arrives."""

from __future__ import annotations

import re
import threading
import time
from types import TracebackType
from typing import Any

from yolo_ema.errors import ConfigError, MissingPackageError, TelemetryError
from yolo_ema.geo.pose import MAX_GAP_S, NoPose, Pose, PoseTrack
from yolo_ema.geo.telemetry.cleaning import cleaned
from yolo_ema.geo.telemetry.completion import PoseMaker
from yolo_ema.geo.telemetry.mavlink import MESSAGES, MavlinkStreams, pymavlink_needed, samples_of
from yolo_ema.options.telemetry import TelemetryOptions

__all__ = ["LiveTelemetry", "is_live"]

_ADDRESS = re.compile(
    r"(?:udp|udpin|udpout|udpbcast|tcp|tcpin):.+|/dev/(?:tty|cu\.|serial/)\S+|COM\d+", re.IGNORECASE
)
"""A host's, or a serial port's: as Linux, macOS and Windows name it."""

_HOST_AND_PORT = re.compile(r"\w+:[^:\s]+:\d{1,5}", re.ASCII)
_WAIT_S = 0.1
_KEPT_S = 10.0


def is_live(word: str) -> bool:
    """Say whether an entry of ``--telemetry`` is an address, in pymavlink's notation."""
    return _ADDRESS.fullmatch(word) is not None


class LiveTelemetry:
    """Listens to MAVLink in a thread of its own, and gives the pose of a moment, or the newest.

    ``--telemetry-offset`` is by how much the video lags behind the telemetry: the pose is that of
    so long ago.

    Args:
        address: in pymavlink's notation, as ``udp:127.0.0.1:14550``, which listens there.
        options: the user's word.
        max_age_s: a pose older than that, at the moment asked for, is none.

    Raises:
        ConfigError: the address is none that can be opened.
        MissingPackageError: pymavlink is not installed; or pyserial, for a serial port.

    Examples:
        >>> from yolo_ema import LiveTelemetry
        >>> with LiveTelemetry("udp:127.0.0.1:0") as live:
        ...     live.newest().reason
        'no_position'
    """

    def __init__(
        self,
        address: str,
        options: TelemetryOptions | None = None,
        *,
        max_age_s: float = MAX_GAP_S,
    ) -> None:
        self._options = options or TelemetryOptions()
        self.max_age_s = max_age_s
        self._maker = PoseMaker(self._options, "mavlink")
        self._said: list[str] = []
        self._streams = MavlinkStreams()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._zero_s = time.time() - time.monotonic()
        self._link = _connected(address)
        self._thread = threading.Thread(target=self._listen, name="telemetry", daemon=True)
        self._thread.start()

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was assumed so far, one sentence each."""
        return (*self._said, *self._maker.assumptions)

    def newest(self) -> Pose | NoPose:
        """Return the newest pose, or why there is none. Its moment is its ``utc``."""
        return self.at(time.monotonic())

    def at(self, monotonic_s: float) -> Pose | NoPose:
        """Return the pose of a moment of the last ten seconds, or why there is none.

        Args:
            monotonic_s: on `time.monotonic`'s clock, as `Frame.received_s`.
        """
        with self._lock:
            streams = self._streams.copy()
        if not streams.positions and not streams.pictures:
            return NoPose("no_position", "no position has arrived", "mavlink")
        first_s = (streams.positions or streams.pictures)[0][0]
        try:
            reading = cleaned(samples_of(streams))
        except TelemetryError as error:
            return NoPose(error.reason, str(error), "mavlink")
        self._said = reading.assumptions
        wanted_s = self._zero_s + monotonic_s - (self._options.telemetry_offset or 0.0) - first_s
        newest = reading.samples[-1]
        age_s = wanted_s - newest.time_s
        if age_s > self.max_age_s:
            later = next((s.reason for s in reading.lost if s.time_s > newest.time_s), None)
            detail = f"the newest position that can be used is {age_s:.1f} s old"
            return NoPose(later or "stale", detail, "mavlink")
        track = PoseTrack(self._maker.poses(reading.samples), "mavlink", lost=tuple(reading.lost))
        return track.at(min(wanted_s, newest.time_s))

    def age_s(self, pose: Pose, monotonic_s: float) -> float:
        """Return by how many seconds a pose of `at` is older than the moment it was asked for."""
        then_s = pose.utc.timestamp() if pose.utc else self._zero_s
        wanted_s = self._zero_s + monotonic_s - (self._options.telemetry_offset or 0.0)
        return max(0.0, wanted_s - then_s)

    def close(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._thread.join()
        self._link.close()

    def __enter__(self) -> LiveTelemetry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                message = self._link.recv_match(type=list(MESSAGES), blocking=True, timeout=_WAIT_S)
            except Exception:  # a radio's noise, a port that is gone for a while: the pose ages
                self._ended.wait(_WAIT_S)
                continue
            if message is not None:
                with self._lock:
                    now_s = self._zero_s + time.monotonic()  # since 1970, and never going back
                    self._streams.take(message, now_s)
                    kept_s = _KEPT_S + abs(self._options.telemetry_offset or 0.0)
                    self._streams.forget(before_s=now_s - kept_s)


def _connected(address: str) -> Any:
    with pymavlink_needed():
        from pymavlink import mavutil
    expected = "expected pymavlink's notation, as in udp:127.0.0.1:14550"
    if ":" in address and not _HOST_AND_PORT.fullmatch(address):
        raise ConfigError(f"--telemetry {address} has no host and port; {expected}")
    try:
        return mavutil.mavlink_connection(address)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"--telemetry {address} is a serial port, which needs pyserial; it is not installed "
            f"here: pip install pyserial"
        ) from error
    # pymavlink raises what sockets and serial ports raise, and others; old versions exit
    except (Exception, SystemExit) as error:
        raise ConfigError(f"--telemetry {address} cannot be opened: {error}; {expected}") from error
