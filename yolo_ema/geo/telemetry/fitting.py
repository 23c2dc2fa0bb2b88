"""Whether telemetry and a video belong together, and where on the video's clock the samples lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.pose import LostSample
from yolo_ema.geo.telemetry.reading import Reading

_LEAST_APART_S = 2.0
_SHARE_APART = 0.02
_SAID_FROM_S = 0.5
_A_FRAME_S = 0.1
_SAME_RATE = 1e-4
_AHEAD = timedelta(days=2)


def on_video_clock(
    reading: Reading, offset_s: float | None, duration_s: float | None, start_utc: datetime | None
) -> Reading:
    """Return a reading whose times count from the video's first frame.

    Args:
        reading: samples on their own clock.
        offset_s: the user's, added to their times; None where none is given.
        duration_s: of the video, where it is known.
        start_utc: when the video begins, where it is known.

    Raises:
        TelemetryError: they do not belong together by their lengths or times, or nothing says
            where in the telemetry the video begins.
    """
    shift_s, stretch, sentences = offset_s or 0.0, 1.0, []
    if offset_s is not None:
        sentences.append(f"{offset_s:g} s are added to the telemetry's times, as given")
    elif reading.clock != "video":
        shift_s = _start_of(reading, start_utc)
        sentences.append(
            f"the video begins at {start_utc}, as its file says, on the telemetry's clock"
        )
    elif duration_s is not None and reading.length_s is not None:
        _check_length(reading.length_s, duration_s)
        stretch, sentence = _stretched(reading, reading.length_s, duration_s)
        sentences += [sentence] if sentence else []
    shifted = replace(reading, assumptions=[*reading.assumptions, *sentences])
    if (shift_s, stretch) != (0, 1):
        shifted.samples = [
            replace(sample, time_s=sample.time_s * stretch + shift_s) for sample in reading.samples
        ]
        shifted.lost = [
            LostSample(sample.time_s * stretch + shift_s, sample.reason) for sample in reading.lost
        ]
    if duration_s is not None and shifted.samples:
        _check_overlap(shifted, duration_s)
    return shifted


def without_future(reading: Reading, now: datetime | None = None) -> Reading:
    """Leave out UTC that lies in the future: the clock of the telemetry, or of this machine, is
    wrong.
    """
    latest = max((sample.utc for sample in reading.samples if sample.utc is not None), default=None)
    if latest is None or latest <= (now or datetime.now(timezone.utc)) + _AHEAD:
        return reading
    assumption = (
        f"the telemetry's clock says {latest.date()}, which lies in the future: times in UTC are "
        "left out"
    )
    return replace(
        reading,
        samples=[replace(sample, utc=None) for sample in reading.samples],
        assumptions=[*reading.assumptions, assumption],
    )


def _start_of(reading: Reading, start_utc: datetime | None) -> float:
    """Return what to add to times since the first sample to have times since the first frame."""
    first = next((sample for sample in reading.samples if sample.utc is not None), None)
    if start_utc is None or first is None or first.utc is None:
        raise TelemetryError(
            "it has times of its own, and the video does not say when it begins: give "
            "--telemetry-offset, how many seconds after the video's first frame the telemetry "
            "begins",
            "no_common_clock",
        )
    return (first.utc - start_utc).total_seconds() - first.time_s


def _check_length(length_s: float, duration_s: float) -> None:
    apart_s = length_s - duration_s
    if abs(apart_s) <= max(_LEAST_APART_S, _SHARE_APART * duration_s):
        return
    word, reason = ("longer", "other_clip") if apart_s > 0 else ("shorter", "too_short")
    raise TelemetryError(
        f"the telemetry covers {length_s:.1f} s and the video {duration_s:.1f} s: it is "
        f"{abs(apart_s):.1f} s {word}, so one of them was cut or they are of different clips; "
        "--telemetry-offset 0 says that both begin together",
        reason,
    )


def _stretched(reading: Reading, length_s: float, duration_s: float) -> tuple[float, str]:
    """Return the factor on the telemetry's times, and what to say of lengths that differ.

    NTSC's rates, as 29.97, are a thousandth below those that are written as whole numbers, and some
    telemetry counts these.
    """
    apart_s = abs(length_s - duration_s)
    a_sample_a_frame = reading.hold_s is not None and reading.hold_s < _A_FRAME_S
    for factor in (1.001, 1 / 1.001):
        fits = abs(length_s * factor - duration_s) <= _SAME_RATE * duration_s
        if fits and a_sample_a_frame and apart_s > _A_FRAME_S:
            return factor, (
                f"the telemetry's times are stretched by {factor:.4f}: it counts a frame rate such "
                "as 30 where the video has 29.97, or the reverse"
            )
    if apart_s <= _SAID_FROM_S:
        return 1.0, ""
    return 1.0, (
        f"the telemetry covers {length_s:.1f} s and the video {duration_s:.1f} s; they are taken "
        "to begin together"
    )


def _check_overlap(reading: Reading, duration_s: float) -> None:
    times = [sample.time_s for sample in reading.samples]
    if min(times) > duration_s + _LEAST_APART_S or max(times) < -_LEAST_APART_S:
        raise TelemetryError(
            f"none of its samples lies within the video: they run from {min(times):.1f} to "
            f"{max(times):.1f} s of a video of {duration_s:.1f} s",
            "other_clip",
        )
