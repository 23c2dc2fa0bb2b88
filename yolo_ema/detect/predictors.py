"""Opens weights for detection. An ONNX, OpenVINO or ncnn file on the CPU needs neither torch nor
Ultralytics; they are imported for everything else alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo_ema.errors import MissingPackageError
from yolo_ema.inference.exported import ExportedPredictor, runs_exported
from yolo_ema.inference.predictor import Predictor, PredictorConfig

__all__ = ["open_predictor", "torch_needed"]


def open_predictor(
    weights: str | Path, config: PredictorConfig | None = None, **fields: Any
) -> Predictor:
    """Open weights of any format, as `yolo_ema.engine.prediction.torch_predictor.open_predictor`,
    without torch where the file does not need it.

    Args:
        weights: a ``.pt`` or an exported file or folder.
        config: how; its defaults where None.
        fields: of the `PredictorConfig`, in place of those in ``config``.

    Raises:
        WeightsError: the weights are missing, damaged, foreign, or carry code.
        MissingPackageError: they need a package that is not installed.
        MachineError: the device is not there.
        ConfigError: a setting, the device, the input size or ``half`` does not fit.
    """
    config = replace(config or PredictorConfig(), **fields)
    if runs_exported(Path(weights), config):
        return ExportedPredictor(Path(weights), config)
    with torch_needed(
        f"{weights} on --device {config.device}",
        "or export the weights where it is installed (yolo-ema export --weights best.pt --format "
        "onnx) and detect with that file on the CPU",
    ):
        from yolo_ema.engine.prediction import torch_predictor
    return torch_predictor.open_predictor(weights, config)


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
