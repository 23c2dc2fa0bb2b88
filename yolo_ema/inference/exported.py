"""Exported files that run without torch: ONNX, OpenVINO and ncnn on the CPU."""

from __future__ import annotations

from pathlib import Path

from yolo_ema.errors import (
    ConfigError,
    DamagedWeightsError,
    MissingPackageError,
    YoloEmaError,
    first_line,
)
from yolo_ema.inference.backend import ExportedBackend
from yolo_ema.inference.backend_predictor import BackendPredictor
from yolo_ema.inference.formats import check_package, format_of
from yolo_ema.inference.ncnn_backend import NcnnBackend
from yolo_ema.inference.onnx_backend import OnnxBackend
from yolo_ema.inference.openvino_backend import OpenVinoBackend
from yolo_ema.inference.predictor import PredictorConfig
from yolo_ema.inference.worker_pool import WorkerPool
from yolo_ema.io.devices import parse_device, torch_is_installed
from yolo_ema.io.machine import thread_count
from yolo_ema.io.malloc_tuning import keep_freed_memory

_BACKENDS: dict[str, type[ExportedBackend]] = {
    "onnx": OnnxBackend,
    "openvino": OpenVinoBackend,
    "ncnn": NcnnBackend,
}
EXPORTED_FORMATS = frozenset(_BACKENDS)
"""What runs here."""


def runs_exported(weights: Path, config: PredictorConfig) -> bool:
    """Say whether `ExportedPredictor` runs these weights as asked for; torch has to otherwise.

    Raises:
        WeightsNotFoundError: there is no such file.
        DamagedWeightsError: its name tells no known format.
        ConfigError: the device's word names none.
    """
    device = parse_device(config.device).kind
    return format_of(weights) in EXPORTED_FORMATS and (
        device == "cpu" or (device == "auto" and not _is_for_gpu(weights))
    )


def _is_for_gpu(weights: Path) -> bool:
    """Say whether ``auto`` means a GPU: for an ONNX file, where ONNX Runtime has one and torch is
    there to feed it.
    """
    if format_of(weights) != "onnx" or not torch_is_installed():
        return False
    check_package(weights, "onnx")
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class ExportedPredictor(BackendPredictor):
    """A `Predictor` on an ONNX, OpenVINO or ncnn file on the CPU.

    Args:
        weights: the file, or the folder of OpenVINO or ncnn.
        config: how it is opened.
    """

    def __init__(self, weights: Path, config: PredictorConfig) -> None:
        """Open the file.

        Raises:
            WeightsNotFoundError: there is no such file.
            DamagedWeightsError: it is truncated, empty or foreign.
            WeightsError: it is not a detector.
            MissingPackageError: the format's runtime is not installed.
            ConfigError: the input size does not fit.
        """
        format_name = format_of(weights)
        check_package(weights, format_name)
        if config.half:
            raise ConfigError(f"half precision needs a GPU, and {weights} runs on the CPU")
        threads = thread_count()
        keep_freed_memory()
        backend = _open(weights, format_name, config, threads)
        workers = WorkerPool(threads) if threads > 1 else None
        super().__init__(weights, format_name, "cpu", backend, config, workers=workers)


def _open(
    weights: Path, format_name: str, config: PredictorConfig, threads: int
) -> ExportedBackend:
    kind = _BACKENDS[format_name]
    file = weights if weights.is_file() else next(weights.glob(f"*{kind.suffix}"), None)
    if file is None:
        raise DamagedWeightsError(
            f"{weights} is not an {format_name} model: there is no {kind.suffix} file in it"
        )
    try:
        return kind(file, config, threads_each=threads)
    except (MemoryError, YoloEmaError):
        raise
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        raise MissingPackageError(
            f"{weights} needs {f'the package {name}' if name else 'a package'}: {error}"
        ) from error
    except Exception as error:  # each runtime has errors of its own for a file that it cannot read
        raise DamagedWeightsError(
            f"{weights} is damaged or not an {format_name} model: {first_line(error)}"
        ) from error
