"""yolo-ema: drone-view object detection with EMA attention in Ultralytics YOLO.

The names below are the public ones. Each is imported when it is first used, so that
``import yolo_ema`` costs nothing, and detection with an exported file needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from yolo_ema._version import __version__ as __version__
from yolo_ema.errors import missing_packages_named

if TYPE_CHECKING:
    from yolo_ema.constants import VISDRONE_CLASSES as VISDRONE_CLASSES
    from yolo_ema.deploy.publish import export as export
    from yolo_ema.deploy.verify import verify as verify
    from yolo_ema.detect.detector import Detector as Detector
    from yolo_ema.detect.locate import locate as locate
    from yolo_ema.detect.predictors import open_predictor as open_predictor
    from yolo_ema.detect.predictors import read_file_metadata as read_file_metadata
    from yolo_ema.detect.tracker import Tracker as Tracker
    from yolo_ema.engine.models.registration import model_yaml as model_yaml
    from yolo_ema.engine.models.registration import register as register
    from yolo_ema.engine.training.ray_train import ray_train as ray_train
    from yolo_ema.engine.training.train import train as train
    from yolo_ema.errors import YoloEmaError as YoloEmaError
    from yolo_ema.evaluate.validation import validate as validate
    from yolo_ema.geo.camera import CameraIntrinsics as CameraIntrinsics
    from yolo_ema.geo.pose import Pose as Pose
    from yolo_ema.geo.pose import PoseTrack as PoseTrack
    from yolo_ema.geo.telemetry.live import LiveTelemetry as LiveTelemetry
    from yolo_ema.geo.telemetry.open_telemetry import open_telemetry as open_telemetry
    from yolo_ema.geo.uncertainty import PoseSigmas as PoseSigmas
    from yolo_ema.inference.predictor import Predictor as Predictor
    from yolo_ema.inference.predictor import PredictorConfig as PredictorConfig
    from yolo_ema.inference.predictor import PredictorSettings as PredictorSettings
    from yolo_ema.inference.tiled import TiledPredictor as TiledPredictor
    from yolo_ema.media.frames import Frame as Frame
    from yolo_ema.media.frames import FrameDetections as FrameDetections
    from yolo_ema.media.sources.network_options import NetworkOptions as NetworkOptions
    from yolo_ema.media.sources.open_sources import find_sources as find_sources
    from yolo_ema.media.sources.open_sources import open_sources as open_sources
    from yolo_ema.media.sources.source_reader import SourceReader as SourceReader
    from yolo_ema.metrics.coco_figures import evaluate_coco as evaluate_coco
    from yolo_ema.metrics.visdrone_protocol import evaluate_official as evaluate_official
    from yolo_ema.nn.attention.catalog import attention as attention
    from yolo_ema.nn.ema import EfficientMultiScaleAttention as EfficientMultiScaleAttention
    from yolo_ema.options.data import PrepareOptions as PrepareOptions
    from yolo_ema.options.detector import DetectorConfig as DetectorConfig
    from yolo_ema.options.export import ExportOptions as ExportOptions
    from yolo_ema.options.locate import LocateOptions as LocateOptions
    from yolo_ema.options.telemetry import TelemetryOptions as TelemetryOptions
    from yolo_ema.options.train import TrainOptions as TrainOptions
    from yolo_ema.options.val import ValOptions as ValOptions
    from yolo_ema.options.verify import VerifyOptions as VerifyOptions
    from yolo_ema.scenes.clip import draw_clip as draw_clip
    from yolo_ema.scenes.scene import draw_scene as draw_scene
    from yolo_ema.tiling.grid import tile_grid as tile_grid
    from yolo_ema.tracking.counting import Counter as Counter
    from yolo_ema.tracking.shapes import CountLine as CountLine
    from yolo_ema.tracking.shapes import Zone as Zone
    from yolo_ema.tracking.small_object_tracker import SmallObjectSettings as SmallObjectSettings
    from yolo_ema.visdrone.annotations import read_annotations as read_annotations
    from yolo_ema.visdrone.prepare import prepare as prepare

_PUBLIC = {
    # Detect on footage
    "Detector": "yolo_ema.detect.detector",
    "DetectorConfig": "yolo_ema.options.detector",
    "Frame": "yolo_ema.media.frames",
    "FrameDetections": "yolo_ema.media.frames",
    "NetworkOptions": "yolo_ema.media.sources.network_options",
    "SourceReader": "yolo_ema.media.sources.source_reader",
    "find_sources": "yolo_ema.media.sources.open_sources",
    "open_sources": "yolo_ema.media.sources.open_sources",
    # Networks and files
    "Predictor": "yolo_ema.inference.predictor",
    "PredictorConfig": "yolo_ema.inference.predictor",
    "PredictorSettings": "yolo_ema.inference.predictor",
    "TiledPredictor": "yolo_ema.inference.tiled",
    "open_predictor": "yolo_ema.detect.predictors",
    "read_file_metadata": "yolo_ema.detect.predictors",
    # Track and count
    "CountLine": "yolo_ema.tracking.shapes",
    "Counter": "yolo_ema.tracking.counting",
    "SmallObjectSettings": "yolo_ema.tracking.small_object_tracker",
    "Tracker": "yolo_ema.detect.tracker",
    "Zone": "yolo_ema.tracking.shapes",
    # Where the camera was
    "CameraIntrinsics": "yolo_ema.geo.camera",
    "LiveTelemetry": "yolo_ema.geo.telemetry.live",
    "LocateOptions": "yolo_ema.options.locate",
    "Pose": "yolo_ema.geo.pose",
    "PoseSigmas": "yolo_ema.geo.uncertainty",
    "PoseTrack": "yolo_ema.geo.pose",
    "TelemetryOptions": "yolo_ema.options.telemetry",
    "locate": "yolo_ema.detect.locate",
    "open_telemetry": "yolo_ema.geo.telemetry.open_telemetry",
    # What the commands do
    "ExportOptions": "yolo_ema.options.export",
    "PrepareOptions": "yolo_ema.options.data",
    "TrainOptions": "yolo_ema.options.train",
    "ValOptions": "yolo_ema.options.val",
    "VerifyOptions": "yolo_ema.options.verify",
    "export": "yolo_ema.deploy.publish",
    "prepare": "yolo_ema.visdrone.prepare",
    "ray_train": "yolo_ema.engine.training.ray_train",
    "train": "yolo_ema.engine.training.train",
    "validate": "yolo_ema.evaluate.validation",
    "verify": "yolo_ema.deploy.verify",
    # Annotations and metrics
    "VISDRONE_CLASSES": "yolo_ema.constants",
    "evaluate_coco": "yolo_ema.metrics.coco_figures",
    "evaluate_official": "yolo_ema.metrics.visdrone_protocol",
    "read_annotations": "yolo_ema.visdrone.annotations",
    # Tiles and drawn scenes
    "draw_clip": "yolo_ema.scenes.clip",
    "draw_scene": "yolo_ema.scenes.scene",
    "tile_grid": "yolo_ema.tiling.grid",
    # Attention blocks and models
    "EfficientMultiScaleAttention": "yolo_ema.nn.ema",
    "attention": "yolo_ema.nn.attention.catalog",
    "model_yaml": "yolo_ema.engine.models.registration",
    "register": "yolo_ema.engine.models.registration",
    # Errors
    "YoloEmaError": "yolo_ema.errors",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - its keys are names


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'yolo_ema' has no attribute {name!r}")
    with missing_packages_named(f"yolo_ema.{name}"):
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
