"""Samples that cannot be right are left out, named and counted, before anything is made of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.geodesic import geodesic_inverse
from yolo_ema.geo.pose import REASONS, LostSample
from yolo_ema.geo.telemetry.reading import Reading, Sample

FASTEST_M_S = 150.0
"""What moves faster, beyond `_SLACK_M`, jumps: no drone or propeller aircraft does."""
_SLACK_M = 25.0
"""Receivers put themselves right, and coarse telemetry goes in steps, by about this much."""
_BACK_S = 1.0
_SAME_S = 1e-6
_NO_FIX_DEG = 1e-5


def cleaned(reading: Reading) -> Reading:
    """Return a reading whose samples are in strictly rising order of time, with a fix, each once,
    and without jumps.

    Raises:
        TelemetryError: the clock runs backwards, or nothing is left.
    """
    total = len(reading.samples)
    samples, sentences = _in_order(reading.samples)
    lost = list(reading.lost)
    slack_m = max(_SLACK_M, 2 * reading.position_step_m)
    samples, without_fix = _with_fix(samples)
    samples, contradicting = _once(samples, slack_m)
    samples, jumping = _without_jumps(samples, slack_m)
    lost += [*without_fix, *contradicting, *jumping]
    lost.sort(key=lambda sample: sample.time_s)
    if not samples:
        reason = Counter(s.reason for s in lost).most_common(1)[0][0] if lost else "no_position"
        raise TelemetryError(
            f"none of its {max(total, len(lost))} samples can be used: {REASONS[reason]}", reason
        )
    if lost:
        counts = Counter(s.reason for s in lost)
        shares = ", ".join(f"{count} ({REASONS[key]})" for key, count in sorted(counts.items()))
        sentences.append(f"samples left out: {shares}; {len(samples)} are left")
    return replace(
        reading, samples=samples, lost=lost, assumptions=[*reading.assumptions, *sentences]
    )


def _in_order(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """Sort samples that are a little out of order, as logs over radio are."""
    latest, late = -np.inf, 0
    for number, sample in enumerate(samples, 1):
        if sample.time_s < latest - _BACK_S:
            raise TelemetryError(
                f"its clock goes back from {latest:.3f} s to {sample.time_s:.3f} s at sample "
                f"{number}; expected one clip whose times rise",
                "disordered",
            )
        late += sample.time_s < latest
        latest = max(latest, sample.time_s)
    sentences = [f"{late} samples that came late were sorted by their time"] if late else []
    return sorted(samples, key=lambda sample: sample.time_s), sentences


def _with_fix(samples: Sequence[Sample]) -> tuple[list[Sample], list[LostSample]]:
    """Leave out latitude 0 at longitude 0, which receivers write without a fix."""
    kept, lost = [], []
    for sample in samples:
        reason = without_place(sample)
        if reason:
            lost.append(LostSample(sample.time_s, reason))
        else:
            kept.append(sample)
    return kept, lost


def without_place(sample: Sample) -> str:
    """Return the code of `REASONS` why a sample tells no place, "" where it does."""
    position = [sample.values.get(name) for name in ("latitude_deg", "longitude_deg")]
    if None in position:
        return "no_position"
    return "no_fix" if max(abs(part or 0.0) for part in position) < _NO_FIX_DEG else ""


def _once(samples: Sequence[Sample], slack_m: float) -> tuple[list[Sample], list[LostSample]]:
    """Keep the last sample of each moment, and none where they contradict each other."""
    kept: list[Sample] = []
    lost: list[LostSample] = []
    for moment in _moments(samples):
        if len(moment) > 1 and _steps_m(moment).max() > slack_m:
            lost += [LostSample(sample.time_s, "contradiction") for sample in moment]
        else:
            kept.append(moment[-1])
    return kept, lost


def _moments(samples: Sequence[Sample]) -> list[list[Sample]]:
    moments: list[list[Sample]] = []
    for sample in samples:
        if moments and sample.time_s - moments[-1][0].time_s <= _SAME_S:
            moments[-1].append(sample)
        else:
            moments.append([sample])
    return moments


def _without_jumps(
    samples: Sequence[Sample], slack_m: float
) -> tuple[list[Sample], list[LostSample]]:
    """Cut the samples at jumps, and keep the largest part and the parts that it can be reached
    from: those where the receiver was wrong for a while are left out.
    """
    if len(samples) < 2:
        return list(samples), []
    times = np.array([sample.time_s for sample in samples])
    jumps = np.flatnonzero(~(_steps_m(samples) <= slack_m + FASTEST_M_S * np.diff(times))) + 1
    bounds = [0, *jumps.tolist(), len(samples)]
    parts = [list(samples[first:end]) for first, end in itertools.pairwise(bounds)]
    largest = max(range(len(parts)), key=lambda index: len(parts[index]))
    kept, lost = list(parts[largest]), []
    for part in parts[largest + 1 :]:
        if _reaches(kept[-1], part[0], slack_m):
            kept += part
        else:
            lost += part
    for part in reversed(parts[:largest]):
        if _reaches(part[-1], kept[0], slack_m):
            kept = part + kept
        else:
            lost += part
    return kept, [LostSample(sample.time_s, "jump") for sample in lost]


def _reaches(before: Sample, after: Sample, slack_m: float) -> bool:
    way_m = float(_steps_m([before, after])[0])
    return way_m <= slack_m + FASTEST_M_S * (after.time_s - before.time_s)


def _steps_m(samples: Sequence[Sample]) -> np.ndarray:
    """Return (n - 1,): the way from each sample to the next, up and down included."""
    places = np.array(
        [(sample.values["latitude_deg"], sample.values["longitude_deg"]) for sample in samples]
    ).T
    _, level = geodesic_inverse(places[0, :-1], places[1, :-1], places[0, 1:], places[1, 1:])
    steep = np.zeros_like(level)
    for name in ("height_takeoff_m", "altitude_m"):
        heights = np.array([sample.values.get(name, np.nan) for sample in samples])
        steep = np.fmax(steep, np.abs(np.diff(heights)))
    return np.hypot(level, steep)
