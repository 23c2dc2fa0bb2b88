"""The result of ``yolo-ema detect``: a table, JSON, an exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.folder_scan import LeftOut

if TYPE_CHECKING:
    from yolo_ema.geo.flight_map import FlightMap

INTERRUPTED = 130
_MOST_ROWS = 20
_MOST_FRAMES_NAMED = 100


@dataclass
class SourceSummary:
    """What was done with one source.

    Attributes:
        source: as it was given, without passwords.
        is_live: a camera or a network stream, which has no end of its own.
        frames, objects: how many were run and found.
        seconds: wall time from its first frame to its last.
        frames_dropped: frames of a live source that newer ones replaced before they were run.
        reconnects: how often a network source came back.
        frames_at_limit: the first hundred frames that reached the limit of objects.
        count_at_limit: how many reached it.
        counts: counts of lines and zones, if any.
        damaged: how many packets or frames could not be decoded.
        missing_frames: how many frames the file should hold and does not.
        problem: why it ended early or is incomplete; empty if it is fine.
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
    damaged: int = 0
    missing_frames: int = 0
    problem: str = ""

    def reached_limit(self, frame: int) -> None:
        """Note a frame that reached the limit of objects, in bounded memory."""
        self.count_at_limit += 1
        if len(self.frames_at_limit) < _MOST_FRAMES_NAMED:
            self.frames_at_limit.append(frame)

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        summary: dict[str, Any] = {
            "source": self.source,
            "frames": self.frames,
            "objects": self.objects,
            "seconds": round(self.seconds, 3),
            "frames_at_max_det": self.frames_at_limit,
            "count_at_max_det": self.count_at_limit,
            "damaged": self.damaged,
            "missing_frames": self.missing_frames,
            "problem": self.problem or None,
        }
        if self.is_live:
            summary |= {"frames_dropped": self.frames_dropped, "reconnects": self.reconnects}
        if self.counts is not None:
            summary["counts"] = self.counts
        return summary


@dataclass(frozen=True)
class DetectResult:
    """What ``detect`` wrote.

    Attributes:
        out: the folder.
        paths: every file that was written, by its kind in ``--save``.
        sources: a summary of each source, in the order they were given.
        objects_per_class: most frequent first.
        tiling: how frames of each size went through the network, whole or in tiles, and why.
        interrupted: Ctrl-C or SIGTERM ended the run; all files are complete for the frames until
            then.
        crops_left_out: how many objects got no crop because ``--crop-limit`` was reached.
        left_out: what lies at the named places and was not read, with the reason.
        flight: the map of what was found, where one was asked for.
        thresholds: lowest score and overlap of NMS, ``conf`` and ``iou``, given or recommended by
            the weights.
        precision: of the weights and of the computation, as ``fp32 in bf16``.
    """

    out: Path
    paths: dict[str, tuple[Path, ...]]
    sources: tuple[SourceSummary, ...]
    objects_per_class: dict[str, int]
    tiling: dict[str, str]
    interrupted: bool = False
    crops_left_out: int = 0
    left_out: tuple[LeftOut, ...] = ()
    flight: FlightMap | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    precision: str = ""

    @property
    def exit_code(self) -> int:
        """0; 5 if a source failed; 130 if an interruption left out files or images.

        Live sources have no end of their own: to end them by a signal is not a failure.
        """
        if any(source.problem for source in self.sources):
            return SourceError.exit_code
        only_live = all(source.is_live for source in self.sources)
        return INTERRUPTED if self.interrupted and not only_live else 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "out": str(self.out),
            "files": {kind: [str(path) for path in paths] for kind, paths in self.paths.items()},
            "sources": [source.as_json() for source in self.sources],
            "objects_per_class": self.objects_per_class,
            "tiling": self.tiling,
            **self.thresholds,
            "precision": self.precision,
            "interrupted": self.interrupted,
            "crops_left_out": self.crops_left_out,
            "left_out": [asdict(left_out) for left_out in self.left_out],
        } | self._map_as_json()

    def _map_as_json(self) -> dict[str, Any]:
        if self.flight is None:
            return {}
        from yolo_ema.detect.locate_result import map_json

        return {"map": map_json(self.flight)}

    def as_text(self) -> str:
        """Return a short table."""
        lines = [f"{'frames':>8} {'objects':>8} {'seconds':>8}  source"]
        lines += [_row(source) for source in self.sources[:_MOST_ROWS]]
        if len(self.sources) > _MOST_ROWS:
            lines.append(f"{'':26}  … and {len(self.sources) - _MOST_ROWS} more")
        total = SourceSummary(
            "total",
            frames=sum(source.frames for source in self.sources),
            objects=sum(source.objects for source in self.sources),
            seconds=sum(source.seconds for source in self.sources),
        )
        lines.append(_row(total))
        if self.objects_per_class:
            by_class = (f"{count} {name}" for name, count in self.objects_per_class.items())
            lines.append(f"objects: {', '.join(by_class)}")
        for source in self.sources:
            lines += _counts(source, with_name=len(self.sources) > 1)
        for source in self.sources:
            lines += _remarks(source)
        lines += map(str, self.left_out)
        if self.crops_left_out:
            lines.append(f"{self.crops_left_out} objects got no crop: raise --crop-limit")
        if self.flight is not None:
            from yolo_ema.detect.locate_result import map_lines

            lines += ["", *map_lines(self.flight)]
        if self.interrupted:
            lines.append("interrupted: what is written is complete for the frames in the table")
        lines.append(f"written: {self.out}" if any(self.paths.values()) else "nothing was written")
        return "\n".join(lines)


def _row(source: SourceSummary) -> str:
    return f"{source.frames:8d} {source.objects:8d} {source.seconds:8.2f}  {source.source}"


def _counts(source: SourceSummary, *, with_name: bool) -> list[str]:
    counts = source.counts or {}
    rows = {
        f"line {name}": _by_direction(count, ("in", "out"))
        for name, count in counts.get("lines", {}).items()
    } | {
        f"zone {name}": _by_direction(count, ("now", "entered", "left", "visitors"))
        for name, count in counts.get("zones", {}).items()
    }
    of_source = f" of {source.source}" if with_name else ""
    return [f"{name}{of_source}: {row}" for name, row in rows.items()]


def _by_direction(counts: dict[str, dict[str, int]], order: tuple[str, ...]) -> str:
    """Return counts as ``3 in (2 car, 1 bus), 0 out``."""
    parts = []
    for direction in order:
        by_class = ", ".join(f"{count} {name}" for name, count in counts[direction].items())
        total = sum(counts[direction].values())
        parts.append(f"{total} {direction}{f' ({by_class})' if by_class else ''}")
    return ", ".join(parts)


def _remarks(source: SourceSummary) -> list[str]:
    remarks = []
    if source.frames_at_limit:
        frames = ", ".join(map(str, source.frames_at_limit[:5]))
        more = f" and {source.count_at_limit - 5} more" if source.count_at_limit > 5 else ""
        remarks.append(
            f"max_det reached in {source.source}, frames {frames}{more}: raise --max-det"
        )
    if source.is_live and (source.frames_dropped or source.reconnects):
        remarks.append(
            f"{source.source}: {source.frames_dropped} frames dropped for newer ones, "
            f"{source.reconnects} reconnects"
        )
    if source.problem:
        remarks.append(f"failed: {source.problem}")
    return remarks


def most_frequent(counts: Counter[str]) -> dict[str, int]:
    """Return counts by name, most frequent first, ties by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
