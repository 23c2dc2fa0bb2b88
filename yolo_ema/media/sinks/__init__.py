"""Where detections go: one sink per format, all with the same methods."""

from __future__ import annotations

from yolo_ema.media.sinks.annotated import AnnotatedCopies
from yolo_ema.media.sinks.coco_json import CocoJson
from yolo_ema.media.sinks.crops import Crops
from yolo_ema.media.sinks.csv_rows import CsvRows
from yolo_ema.media.sinks.jsonl import JsonLines
from yolo_ema.media.sinks.mot import MotFiles
from yolo_ema.media.sinks.open_sinks import SINK_KINDS, open_sinks
from yolo_ema.media.sinks.parquet_rows import ParquetRows
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sinks.visdrone_results import VisdroneResults
from yolo_ema.media.sinks.yolo_labels import YoloLabels

__all__ = [
    "SINK_KINDS",
    "AnnotatedCopies",
    "CocoJson",
    "Crops",
    "CsvRows",
    "FrameContext",
    "JsonLines",
    "MotFiles",
    "ParquetRows",
    "Sink",
    "VisdroneResults",
    "YoloLabels",
    "open_sinks",
]
