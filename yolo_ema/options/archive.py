"""Options of ``yolo-ema archive``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from yolo_ema.options.detect import SAVED_KINDS, DetectOptions
from yolo_ema.options.detector import INPUT, TRACKING, DetectorConfig, fps_option
from yolo_ema.options.fields import option
from yolo_ema.options.mapping import MAP, PlacingOptions
from yolo_ema.options.shared import MODEL
from yolo_ema.options.telemetry import TELEMETRY
from yolo_ema.options.tiles import TILES

ENGINES = ("local", "ray")
_OUTPUT, _RUNNING = "output", "where it runs"
_BESIDE = tuple(kind for kind in SAVED_KINDS if kind not in {"parquet", "none"})
_NEED_TRACKS = {"mot", "visdrone-mot"}
_SHARD = re.compile(r"(\d+)/(\d+)", re.ASCII)
_SEGMENT_S = 600.0
_NOT_RESULTS = frozenset(
    {"source", "weights", "device", "out", "retry_failed", "engine", "address", "shard"}
    | {"workers", "cores"}
)
"""Options that don't change what is found, or have an entry of their own in the run's record."""

_input_option = partial(option, group=INPUT)
_output_option = partial(option, group=_OUTPUT)
_running_option = partial(option, group=_RUNNING)


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions(DetectorConfig, PlacingOptions):
    """Which archive to run through, with which weights, on how many machines, where to write."""

    GROUPS = (INPUT, MODEL, TILES, TRACKING, TELEMETRY, MAP, _OUTPUT, _RUNNING)

    source: tuple[str, ...] = _input_option(
        positional=True,
        help="videos, images, folders, patterns such as 'flights/**/*.mp4', a .txt list of these, "
        "or addresses that fsspec reads, such as s3://bucket/flights/",
    )
    fps: float = fps_option()
    segment: float | None = _input_option(
        None,
        help=f"cut longer videos into jobs of about this length; 0 for never; default: "
        f"{_SEGMENT_S:g}, and whole files with --track or at an address",
        at_least=0,
        unit="seconds",
    )
    images_per_job: int = _input_option(100, help="images of a folder that are one job", at_least=1)
    out: str = _output_option(
        metavar="DIR",
        help="folder, or address such as s3://bucket/boxes, for the results; the same command "
        "again continues where it stopped",
    )
    save: tuple[str, ...] = _output_option(
        (), choices=_BESIDE, help="what to write besides detections/*.parquet, separated by commas"
    )
    retry_failed: bool = _output_option(
        False, help="also try again what failed twice, or was incomplete"
    )
    engine: str = _running_option(
        "local", choices=ENGINES, help="processes on this machine, or a Ray cluster"
    )
    address: str | None = _running_option(
        None,
        metavar="HOST:PORT",
        help="with --engine ray, the cluster; default: RAY_ADDRESS, or a cluster on this machine",
    )
    shard: str | None = _running_option(
        None,
        metavar="I/N",
        help="only every N-th job, beginning with the I-th, as in 1/8: for job arrays",
    )
    workers: int | None = _running_option(
        None,
        help="processes, or at most so many Ray actors; default: one per GPU, or one per --cores "
        "as far as memory goes",
        at_least=1,
    )
    cores: int = _running_option(1, help="processor cores of a worker that has no GPU", at_least=1)

    @property
    def tracks(self) -> bool:
        """Whether to track: asked for by name, or needed by what is saved."""
        return self.track or not _NEED_TRACKS.isdisjoint(self.save)

    @property
    def shard_of(self) -> tuple[int, int]:
        """The 0-based number of the shard, and of how many."""
        match = _SHARD.fullmatch(self.shard or "1/1")
        return (int(match[1]) - 1, int(match[2])) if match else (0, 1)

    def segment_s(self, *, is_remote: bool) -> float:
        """Return how long a job of a video may be, in seconds; 0 for whole files."""
        if self.segment is not None:
            return self.segment
        return 0.0 if self.tracks or is_remote else _SEGMENT_S

    def detect_options(self, out: Path, weights: Path) -> DetectOptions:
        """Return what one job asks ``yolo-ema detect`` for."""
        shared = {
            field.name: getattr(self, field.name)
            for kind in (DetectorConfig, PlacingOptions)
            for field in dataclasses.fields(kind)
        }
        shared |= {"weights": weights, "track": self.tracks}
        return DetectOptions(
            **shared, source=("job",), fps=self.fps, out=out, save=("parquet", *self.save)
        )

    def settings(self) -> dict[str, Any]:
        """Return what is not the default, and decides about the results besides sources and
        weights, as plain values.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {
            name: _plain(value)
            for name, value in dataclasses.asdict(self).items()
            if name not in _NOT_RESULTS and value != defaults[name]
        }

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if not self.source:
            yield "no source given; expected videos, images, folders, patterns or addresses"
        if not self.out:
            yield "--out is empty; expected a folder or an address"
        if not self.telemetry:
            for field in dataclasses.fields(PlacingOptions):
                if getattr(self, field.name) != field.default:
                    word = field.name.replace("_", "-")
                    yield f"--{word} is about positions, which need --telemetry, as in auto"
        if self.address is not None and self.engine != "ray":
            yield "--address belongs to --engine ray"
        if self.shard is None:
            return
        number, count = self.shard_of
        if not _SHARD.fullmatch(self.shard) or not 0 <= number < count:
            yield f"--shard is {self.shard!r}; expected I/N with I from 1 to N, as in 1/8"
        if self.engine == "ray":
            yield "--shard is for runs without Ray, which hands out the jobs itself"


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it."""
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
