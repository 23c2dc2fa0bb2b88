"""What ``detect`` reports at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_ema.errors import SourceError

__all__ = ["INTERRUPTED", "DetectResult", "SourceSummary"]

INTERRUPTED = 130
_MOST_ROWS = 20
_MOST_FRAMES_NAMED = 100


@dataclass
class SourceSummary:
    """What came of one source.

    Attributes:
        source: as it was given, without a password.
        is_live: a camera or a network stream, which has no end of its own.
        frames, objects: how many were looked at and found.
        seconds: from its first frame to its last, on the clock.
        frames_dropped: frames of a live source that newer ones replaced before they could be looked
            at.
        reconnects: how often a network source came back.
        frames_at_limit: the frames that reached the limit of objects, the first hundred of them.
        count_at_limit: how many there were.
        counts: what crossed the lines and stood in the zones, where any are counted.
        problem: why it ended early; empty where it did not.
    """

    source: str
    is_live: bool = False
    frames: int = 0
    objects: int = 0
    seconds: float = 0.0
    frames_dropped: int = 0
    reconnects: int = 0
    frames_at_limit: list[int] = field(default_factory=list)
    count_at_limit: int = 0
    counts: dict[str, Any] | None = None
    problem: str = ""

    def reached_limit(self, frame: int) -> None:
        """Note a frame that reached the limit of objects; memory does not grow with their
        number.
        """
        self.count_at_limit += 1
        if len(self.frames_at_limit) < _MOST_FRAMES_NAMED:
            self.frames_at_limit.append(frame)

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        found: dict[str, Any] = {
            "source": self.source,
            "frames": self.frames,
            "objects": self.objects,
            "seconds": round(self.seconds, 3),
            "frames_at_max_det": self.frames_at_limit,
            "count_at_max_det": self.count_at_limit,
            "problem": self.problem or None,
        }
        if self.is_live:
            found |= {"frames_dropped": self.frames_dropped, "reconnects": self.reconnects}
        if self.counts is not None:
            found["counts"] = self.counts
        return found


@dataclass(frozen=True)
class DetectResult:
    """What ``detect`` wrote.

    Attributes:
        out: the folder.
        paths: every file that was written, by the kind it was asked for as.
        sources: a summary of each source, in the order they were given.
        objects_per_class: most frequent first.
        tiling: how frames of each size were looked at.
        interrupted: Ctrl-C or SIGTERM ended it; all files are complete for the frames seen until
            then.
        crops_left_out: how many objects got no picture of their own, because there were enough of
            them.
    """

    out: Path
    paths: dict[str, tuple[Path, ...]]
    sources: tuple[SourceSummary, ...]
    objects_per_class: dict[str, int]
    tiling: dict[str, str]
    interrupted: bool = False
    crops_left_out: int = 0

    @property
    def exit_code(self) -> int:
        """0; 5 where a source failed; 130 where files or images were left out because of an
        interruption.

        Live sources have no end but the user's: to end them so is no failure.
        """
        if any(one.problem for one in self.sources):
            return SourceError.exit_code
        return (
            INTERRUPTED if self.interrupted and not all(one.is_live for one in self.sources) else 0
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "out": str(self.out),
            "files": {kind: [str(path) for path in paths] for kind, paths in self.paths.items()},
            "sources": [one.as_json() for one in self.sources],
            "objects_per_class": self.objects_per_class,
            "tiling": self.tiling,
            "interrupted": self.interrupted,
            "crops_left_out": self.crops_left_out,
        }

    def as_text(self) -> str:
        """Return a short table."""
        lines = [f"{'frames':>8} {'objects':>8} {'seconds':>8}  source"]
        lines += [_row(one) for one in self.sources[:_MOST_ROWS]]
        if len(self.sources) > _MOST_ROWS:
            lines.append(f"{'':26}  … and {len(self.sources) - _MOST_ROWS} more")
        total = SourceSummary(
            "total",
            frames=sum(one.frames for one in self.sources),
            objects=sum(one.objects for one in self.sources),
        )
        total.seconds = sum(one.seconds for one in self.sources)
        lines.append(_row(total))
        if self.objects_per_class:
            lines.append(
                "objects: "
                + ", ".join(f"{count} {name}" for name, count in self.objects_per_class.items())
            )
        for one in self.sources:
            lines += _counts(one, name_it=len(self.sources) > 1)
        for one in self.sources:
            lines += _remarks(one)
        if self.crops_left_out:
            lines.append(f"{self.crops_left_out} objects got no crop: raise --crop-limit")
        if self.interrupted:
            lines.append("interrupted: what is written is complete for the frames in the table")
        lines.append(f"written: {self.out}" if any(self.paths.values()) else "nothing was written")
        return "\n".join(lines)


def _row(one: SourceSummary) -> str:
    return f"{one.frames:8d} {one.objects:8d} {one.seconds:8.2f}  {one.source}"


def _counts(one: SourceSummary, *, name_it: bool) -> list[str]:
    """Return what crossed each line and what each zone saw, a row each."""
    counts = one.counts or {}
    rows = {
        f"line {name}": _ways(ways, ("in", "out")) for name, ways in counts.get("lines", {}).items()
    }
    rows |= {
        f"zone {name}": _ways(ways, ("now", "entered", "left", "visitors"))
        for name, ways in counts.get("zones", {}).items()
    }
    return [f"{name}{f' of {one.source}' if name_it else ''}: {row}" for name, row in rows.items()]


def _ways(ways: dict[str, dict[str, int]], order: tuple[str, ...]) -> str:
    """Return counts as ``3 in (2 car, 1 bus), 0 out``."""
    told = []
    for way in order:
        by_class = ", ".join(f"{count} {name}" for name, count in ways[way].items())
        told.append(f"{sum(ways[way].values())} {way}{f' ({by_class})' if by_class else ''}")
    return ", ".join(told)


def _remarks(one: SourceSummary) -> list[str]:
    remarks = []
    if one.frames_at_limit:
        remarks.append(
            f"max_det reached in {one.source}, frames "
            f"{_short(one.frames_at_limit, one.count_at_limit)}: raise --max-det"
        )
    if one.is_live and (one.frames_dropped or one.reconnects):
        remarks.append(
            f"{one.source}: {one.frames_dropped} frames dropped for newer ones, {one.reconnects} "
            f"reconnects"
        )
    if one.problem:
        remarks.append(f"failed: {one.problem}")
    return remarks


def _short(numbers: list[int], count: int) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {count - 5} more" if count > 5 else "")


def most_frequent(counts: Counter[str]) -> dict[str, int]:
    """Return counts by name, most frequent first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
