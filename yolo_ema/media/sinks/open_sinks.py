"""Turns the words of ``--save`` into sinks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.annotated import AnnotatedCopies
from yolo_ema.media.sinks.coco_json import CocoJson
from yolo_ema.media.sinks.crops import LARGEST_NUMBER, Crops
from yolo_ema.media.sinks.csv_rows import CsvRows
from yolo_ema.media.sinks.jsonl import JsonLines
from yolo_ema.media.sinks.mot import MOT_STYLES, MotFiles
from yolo_ema.media.sinks.parquet_rows import ParquetRows
from yolo_ema.media.sinks.sink import Sink
from yolo_ema.media.sinks.unique_paths import remove_stale_parts
from yolo_ema.media.sinks.visdrone_results import VisdroneResults
from yolo_ema.media.sinks.yolo_labels import YoloLabels

SINK_KINDS = (
    "annotated",
    "jsonl",
    "csv",
    "parquet",
    "coco",
    "visdrone",
    "yolo",
    "crops",
    *MOT_STYLES,
)
_MAY_REFUSE = {"visdrone": 0, "visdrone-mot": 0, "parquet": 1}
"""The order in which they are asked: the last one makes a file."""
_FOLDERS = ("visdrone", "yolo", "yolo/labels")


def open_sinks(
    kinds: Sequence[str],
    out: Path,
    *,
    names: Mapping[int, str],
    all_names: Mapping[int, str] | None = None,
    draw: Callable[[FrameDetections], np.ndarray] = draw_detections,
    visdrone_names: Sequence[str] = (),
    yolo_scores: bool = False,
    crop_limit: int = LARGEST_NUMBER,
    stems: Iterable[str] = (),
) -> list[Sink]:
    """Open a sink of each kind and return them in the order of the kinds; delete what killed runs
    left behind unfinished in ``out``.

    Args:
        kinds: some of `SINK_KINDS`; one named twice is opened once.
        out: the output folder, created if missing; no file in it is replaced.
        names: class by id, of all classes that may be found.
        all_names: of all classes of the weights; None where these are the same.
        draw: turns detections into the annotated image.
        visdrone_names: VisDrone's names of the categories from 1 on, for the kind ``visdrone``.
        yolo_scores: append scores to YOLO's labels.
        crop_limit: maximum number of crops in total.
        stems: those of all sources of the run, see `AnnotatedCopies`.

    Raises:
        ConfigError: an unknown kind, or a class that a format cannot hold; nothing stays open.
        DiskFullError: there is no space left.
    """
    openers: dict[str, Callable[[], Sink]] = {
        "annotated": lambda: AnnotatedCopies(out, draw, stems=stems),
        "jsonl": lambda: JsonLines(out),
        "csv": lambda: CsvRows(out),
        "parquet": lambda: ParquetRows(out),
        "coco": lambda: CocoJson(out, names),
        "visdrone": lambda: VisdroneResults(out, names, visdrone_names),
        "yolo": lambda: YoloLabels(out, all_names or names, scores=yolo_scores),
        "crops": lambda: Crops(out, limit=crop_limit),
        "mot": lambda: MotFiles(out, "mot", names),
        "visdrone-mot": lambda: MotFiles(out, "visdrone-mot", names),
    }
    for kind in kinds:
        if kind not in openers:
            raise ConfigError(
                f"there is no output {kind!r}{did_you_mean(kind, SINK_KINDS)}; expected "
                f"{', '.join(SINK_KINDS)}"
            )
    for folder in (out, *(out / name for name in _FOLDERS), *(out / "crops").glob("*")):
        remove_stale_parts(folder)
    sinks: dict[str, Sink] = {}
    with contextlib.ExitStack() as opened:
        # What may refuse comes first, so that it refuses before any file exists.
        for kind in sorted(dict.fromkeys(kinds), key=lambda kind: _MAY_REFUSE.get(kind, 2)):
            sinks[kind] = openers[kind]()
            opened.callback(sinks[kind].close)
        opened.pop_all()
    return [sinks[kind] for kind in dict.fromkeys(kinds)]
