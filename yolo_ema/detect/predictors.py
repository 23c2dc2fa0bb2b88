"""Opens weights for detection. An ONNX, OpenVINO or ncnn file on the CPU needs neither torch nor
Ultralytics; they are imported for everything else alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo_ema.errors import MachineError, MissingPackageError
from yolo_ema.inference.exported import EXPORTED_FORMATS, ExportedPredictor, runs_exported
from yolo_ema.inference.file_metadata import ArtifactMetadata, exported_entries
from yolo_ema.inference.formats import format_of
from yolo_ema.inference.predictor import (
    Predictor,
    PredictorConfig,
    PredictorSettings,
    input_size,
)
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.io.machine import thread_count
from yolo_ema.options.class_names import nms_groups
from yolo_ema.options.detector import DetectorConfig
from yolo_ema.options.tiles import tile_size
from yolo_ema.tiling.plan_figures import PlanRow, scaled_side

__all__ = [
    "Opener",
    "apply_settings",
    "open_predictor",
    "open_tiled",
    "read_file_metadata",
    "torch_needed",
]


def open_predictor(
    weights: str | Path, config: PredictorConfig | None = None, **fields: Any
) -> Predictor:
    """Open weights of any format, as `yolo_ema.engine.prediction.torch_predictor.open_predictor`,
    without torch where the file does not need it.

    ``fields`` take the place of those in ``config``.

    Raises:
        WeightsError: the weights are missing, damaged, foreign, or carry code.
        MissingPackageError: they need a package that is not installed.
        MachineError: the device is not there; or this is a fork of a process that used torch.
        ConfigError: a setting, the device, the input size or ``half`` does not fit.

    Examples:
        >>> from yolo_ema import open_predictor
        >>> open_predictor("best.onnx", conf=0.4).names[3]  # without torch
        'car'
    """
    config = replace(config or PredictorConfig(), **fields)
    if runs_exported(Path(weights), config):
        return ExportedPredictor(Path(weights), config)
    alternative = (
        "or take --device cpu"
        if format_of(Path(weights)) in EXPORTED_FORMATS
        else "or export the weights where it is installed (yolo-ema export --weights best.pt "
        "--format onnx) and detect with that file on the CPU"
    )
    with torch_needed(f"{weights} on --device {config.device}", alternative):
        from yolo_ema.engine.prediction import torch_predictor
    if _last_with_torch:
        _last_with_torch[0].check()
    _last_with_torch[:] = [Opener()]
    return torch_predictor.open_predictor(weights, config)


def read_file_metadata(artifact: str | Path) -> ArtifactMetadata:
    """Return what an exported file or folder says of itself, without running it; empty where it
    says nothing. ONNX, OpenVINO and ncnn files need no torch for it.

    Raises:
        DamagedWeightsError: what it says cannot be read.
        MissingPackageError: its format needs a package that is not installed.

    Examples:
        >>> from yolo_ema import read_file_metadata
        >>> read_file_metadata("best.onnx").imgsz_hw
        (640, 640)
    """
    if (entries := exported_entries(Path(artifact))) is None:
        with torch_needed(f"the metadata of {artifact}", "or ask for that of another format"):
            from yolo_ema.engine.export.artifact_metadata import read_entries
        entries = read_entries(Path(artifact))
    return ArtifactMetadata.from_entries(entries)


def open_tiled(weights: Path, config: DetectorConfig) -> TiledPredictor:
    """Open weights as a detector's configuration asks. Raises what `open_predictor` raises."""
    predictor = open_predictor(
        weights,
        device=config.device,
        imgsz=input_size(config.imgsz),
        half=config.half,
        trust=config.trust,
    )
    apply_settings(predictor, config)
    return TiledPredictor(
        predictor,
        tile=tile_size(config.tile) or config.tile,
        overlap=config.overlap,
        whole_frame=config.whole_frame,
        merge=config.merge,
        augment=config.augment,
    )


def apply_settings(predictor: Predictor, config: DetectorConfig) -> None:
    """Let a predictor's next call follow a configuration: thresholds that it leaves open are those
    that the weights carry, for the best of the plans that the configuration and the file allow, or
    this project's.

    Raises:
        ConfigError: the weights do not know a class.
    """
    settings, defaults = predictor.settings, PredictorSettings()
    settings.classes = config.class_ids(predictor.names)
    settings.nms_groups = nms_groups(config.nms_groups, predictor.names)
    settings.max_det, settings.group_iou = config.max_det, config.group_iou
    conf, iou = _recommended(predictor, config) or (defaults.conf, defaults.iou)
    settings.conf = conf if config.conf is None else config.conf
    settings.iou = iou if config.iou is None else config.iou


def _recommended(predictor: Predictor, config: DetectorConfig) -> tuple[float, float] | None:
    """Return the lowest score and the overlap of NMS that weights carry for the best plan that is
    allowed; None where they carry none.
    """
    figures = predictor.plan_figures
    if figures is None:
        return None
    # The longer sides decide: of frames of one shape, both 640 and 384,640 make the same input.
    longer, stride = max(predictor.imgsz_hw), predictor.stride
    own_side, side = longer / predictor.input_scale, scaled_side(longer, 1, stride)

    def is_allowed(row: PlanRow) -> bool:
        at_this_input = scaled_side(own_side, row.input_scale, stride) == side
        if config.tile == "off":
            return at_this_input and not row.tiles
        if config.tile != "auto" or config.whole_frame is False:
            return (
                at_this_input and row.tiles and row.whole_frame == (config.whole_frame is not False)
            )
        return at_this_input or not predictor.size_fixed_by

    return (figures.where(is_allowed) or figures).best.conf, figures.iou


class Opener:
    """The process that opens a network, and with how many threads. A child that is forked from it
    lacks these threads: the network would wait for them forever.
    """

    def __init__(self) -> None:
        self._process, self._threads = os.getpid(), thread_count()

    def check(self) -> None:
        """Raise `MachineError` in a forked child, unless one thread is all that there was."""
        if os.getpid() != self._process and self._threads > 1:
            raise MachineError(
                f"this process was forked from process {self._process}, where a network is open "
                f"whose threads do not survive a fork; start processes with multiprocessing's "
                f"'spawn' or 'forkserver' and make a Detector in each, or set YOLO_EMA_THREADS=1 "
                f"before the first one is made"
            )


_last_with_torch: list[Opener] = []
"""Who opened weights with torch last; a forked child inherits it, and torch's threads are one pool
for all networks.
"""


@contextlib.contextmanager
def torch_needed(what: str, alternative: str) -> Iterator[None]:
    """Import what needs torch inside this context, so that its absence is explained.

    Raises:
        MissingPackageError: torch or Ultralytics is not installed: ``what`` needs it, and
            ``alternative`` is what to do other than install it.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"torch", "torchvision", "ultralytics"}:
            raise
        raise MissingPackageError(
            f"{what} needs {package}, which is not installed here; install it with: pip install "
            f"yolo-ema, {alternative}"
        ) from error
