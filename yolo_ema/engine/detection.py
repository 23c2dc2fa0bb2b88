"""The ``detect`` verb: footage in, annotated copies and ``detections.jsonl`` out."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolo_ema.engine.detector import Detector
from yolo_ema.errors import SourceError
from yolo_ema.footage.sinks import AnnotatedCopies, FrameContext, JsonLines
from yolo_ema.footage.sources import Source, open_sources
from yolo_ema.options.detect import DetectOptions

__all__ = ["DetectResult", "SourceSummary", "detect", "fresh_folder"]


@dataclass
class SourceSummary:
    """What came of one source."""

    source: str
    frames: int = 0
    objects: int = 0
    seconds: float = 0.0
    frames_at_limit: list[int] = field(default_factory=list)
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {
            "source": self.source,
            "frames": self.frames,
            "objects": self.objects,
            "seconds": round(self.seconds, 3),
            "frames_at_max_det": self.frames_at_limit,
            "problem": self.problem or None,
        }


@dataclass(frozen=True)
class DetectResult:
    """What ``detect`` wrote. ``exit_code`` is 5 where a source could not be read to its end."""

    out: Path
    jsonl: Path
    copies: tuple[Path, ...]
    sources: tuple[SourceSummary, ...]
    objects_per_class: dict[str, int]

    @property
    def exit_code(self) -> int:
        """0, or 5 where a source failed."""
        return SourceError.exit_code if any(one.problem for one in self.sources) else 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "out": str(self.out),
            "detections": str(self.jsonl),
            "annotated": [str(path) for path in self.copies],
            "sources": [one.as_json() for one in self.sources],
            "objects_per_class": self.objects_per_class,
        }

    def as_text(self) -> str:
        """Return a short table."""
        shown = self.sources if len(self.sources) <= 20 else self.sources[:20]
        lines = [f"{'frames':>8} {'objects':>8} {'seconds':>8}  source"]
        lines += [f"{one.frames:8d} {one.objects:8d} {one.seconds:8.2f}  {one.source}" for one in shown]
        if len(shown) < len(self.sources):
            lines.append(f"{'':26}  … and {len(self.sources) - len(shown)} more")
        total = SourceSummary(
            "total", *(sum(getattr(one, key) for one in self.sources) for key in ("frames", "objects", "seconds"))
        )
        lines.append(f"{total.frames:8d} {total.objects:8d} {total.seconds:8.2f}  total")
        if self.objects_per_class:
            lines.append("objects: " + ", ".join(f"{count} {name}" for name, count in self.objects_per_class.items()))
        lines += [
            f"max_det reached in {one.source}, frames {_short(one.frames_at_limit)}: raise --max-det"
            for one in self.sources
            if one.frames_at_limit
        ]
        lines += [f"failed: {one.problem}" for one in self.sources if one.problem]
        lines.append(f"written: {self.out}")
        return "\n".join(lines)


def _short(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def detect(options: DetectOptions) -> DetectResult:
    """Detect on every source, writing annotated copies and ``detections.jsonl``.

    A source that fails is named in the result and does not stop the others.

    Raises:
        SourceError: a source does not exist.
        WeightsError: the weights cannot be used.
        DiskFullError: there is no room for what is written.
    """
    sources = open_sources(options.source, max_pixels=options.max_pixels)
    detector = Detector(
        options.weights,
        imgsz=_imgsz(options.imgsz),
        conf=options.conf,
        iou=options.iou,
        max_det=options.max_det,
        classes=options.classes,
        device=options.device,
        half=options.half,
        max_pixels=options.max_pixels,
        trust=options.trust,
    )
    out = options.out or fresh_folder(Path("runs/detect"))
    summaries: list[SourceSummary] = []
    counts: Counter[str] = Counter()
    with contextlib.closing(JsonLines(out)) as lines, contextlib.closing(AnnotatedCopies(out)) as copies:
        progress = tqdm(sources, desc="sources", unit="source", file=sys.stderr, disable=_quiet() or len(sources) == 1)
        drawn = copies if options.annotate else None
        summaries.extend(_detect_source(source, detector, lines, drawn, counts) for source in progress)
    return DetectResult(out, lines.paths[0], copies.paths, tuple(summaries), dict(counts.most_common()))


def _detect_source(
    source: Source, detector: Detector, lines: JsonLines, copies: AnnotatedCopies | None, counts: Counter[str]
) -> SourceSummary:
    summary = SourceSummary(source.name)
    started = time.perf_counter()
    try:
        footage = source.open()
        frames = tqdm(
            footage,
            desc=source.name,
            total=footage.frame_count,
            unit="frame",
            file=sys.stderr,
            disable=_quiet() or not source.is_video,
        )
        for frame in frames:
            found = detector.detect_frames([frame])[0]
            context = FrameContext(footage.frame_rate, source.stem)
            lines.write(found, context)
            if copies is not None:
                copies.write(found, context)
            summary.frames += 1
            summary.objects += len(found)
            counts.update(found.names[int(class_id)] for class_id in found.class_ids)
            if len(found) >= detector.max_det:
                summary.frames_at_limit.append(frame.index)
        if footage.damaged_packets:
            summary.problem = f"{source.name}: {footage.damaged_packets} damaged packets were passed over"
    except SourceError as error:
        summary.problem = str(error)
    finally:
        if copies is not None:
            copies.end_source(summary.source)
    summary.seconds = time.perf_counter() - started
    return summary


def _imgsz(sides: tuple[int, ...]) -> int | tuple[int, int] | None:
    if not sides:
        return None
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def fresh_folder(base: Path) -> Path:
    """Make and return ``base``, or ``base-2``, ``base-3``, … where it exists."""
    names = itertools.chain([base.name], (f"{base.name}-{number}" for number in itertools.count(2)))
    for name in names:
        folder = base.with_name(name)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable: the names have no end")


def _quiet() -> bool:
    return not sys.stderr.isatty()
