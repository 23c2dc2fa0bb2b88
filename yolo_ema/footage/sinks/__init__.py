"""Where detections go: one sink a format, all called alike."""

from __future__ import annotations

from yolo_ema.footage.sinks.annotated import AnnotatedCopies
from yolo_ema.footage.sinks.coco_json import CocoJson
from yolo_ema.footage.sinks.contract import FrameContext, Sink
from yolo_ema.footage.sinks.crops import Crops
from yolo_ema.footage.sinks.csv_rows import CsvRows
from yolo_ema.footage.sinks.jsonl import JsonLines
from yolo_ema.footage.sinks.mot import MotFiles
from yolo_ema.footage.sinks.opening import SINK_KINDS, open_sinks
from yolo_ema.footage.sinks.visdrone_results import VisdroneResults
from yolo_ema.footage.sinks.yolo_labels import YoloLabels

__all__ = [
    "SINK_KINDS",
    "AnnotatedCopies",
    "CocoJson",
    "Crops",
    "CsvRows",
    "FrameContext",
    "JsonLines",
    "MotFiles",
    "Sink",
    "VisdroneResults",
    "YoloLabels",
    "open_sinks",
]
