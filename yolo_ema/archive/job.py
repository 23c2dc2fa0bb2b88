"""A job: one video, a part of a long one, or some images of a folder; and what became of it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from yolo_ema.media.sources.video_cuts import VideoSpan

DONE, INCOMPLETE, FAILED, UNDONE = "done", "incomplete", "failed", "undone"


@dataclass(frozen=True)
class Job:
    """What is run and written as one.

    Attributes:
        files: absolute paths or addresses, ``/`` between folders: one video, or images of one
            folder.
        span: the part of the video; None for all of it.
        is_sequence: the images are the frames of one flight.
    """

    files: tuple[str, ...]
    span: VideoSpan | None = None
    is_sequence: bool = False

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that follow from the files and the part alone."""
        part = "" if self.span is None else f"{self.span.start_s!r}-{self.span.end_s!r}"
        text = "\0".join((*self.files, part, "sequence" * self.is_sequence))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def name(self) -> str:
        """What is shown: the video with its part, or the folder with how many images."""
        if len(self.files) > 1:
            return f"{self.files[0].rpartition('/')[0]} ({len(self.files)} images)"
        if self.span is None:
            return self.files[0]
        return f"{self.files[0]} from {self.span.start_s:.1f} s"

    def as_line(self) -> str:
        """Return the job as a line of the manifest."""
        first, *rest = self.files
        folder = first.rpartition("/")[0]
        line: dict[str, Any] = {"id": self.id, "source": first}
        if rest or self.is_sequence:
            names = [file.rpartition("/")[2] for file in self.files]
            line = {"id": self.id, "source": folder, "images": names}
        if self.is_sequence:
            line["sequence"] = True
        if self.span is not None:
            end_s = self.span.end_s
            line |= asdict(self.span) | {"end_s": None if math.isinf(end_s) else end_s}
        return json.dumps(line)

    @classmethod
    def from_line(cls, line: str) -> Job:
        """Read a line of the manifest."""
        entry = json.loads(line)
        source = entry["source"]
        files = tuple(f"{source}/{name}" for name in entry["images"]) if "images" in entry else ()
        span = None
        if "start_s" in entry:
            end_s = math.inf if entry["end_s"] is None else entry["end_s"]
            span = VideoSpan(
                entry["start_s"],
                end_s,
                entry["first_frame"],
                entry["seek_ticks"],
                entry["origin_s"],
            )
        return cls(files or (source,), span, entry.get("sequence", False))


class Order(NamedTuple):
    """A job, and how often it has failed before."""

    job: Job
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        id, name: the job's.
        state: ``done``; ``incomplete``, where something of it could not be read, and the rest is
            written; ``failed``, where nothing is written; ``undone``, where the machine or the run
            was to blame: the job is as if it had never begun.
        frames, objects: how many were run and found.
        seconds: how long it took.
        problem: why it is not done.
        attempts: how often it has failed.
        no_positions: with ``--telemetry``, why sources of it have no positions, by source.
        unplaced: with ``--telemetry``, how many objects have no position, by the reason's code.
        crops_left_out: how many objects got no crop, since a job makes so many at most.
        frames_at_max_det: how many frames reached the limit of objects.
    """

    id: str
    name: str
    state: str
    frames: int = 0
    objects: int = 0
    seconds: float = 0.0
    problem: str = ""
    attempts: int = 0
    no_positions: dict[str, str] = field(default_factory=dict)
    unplaced: dict[str, int] = field(default_factory=dict)
    crops_left_out: int = 0
    frames_at_max_det: int = 0
