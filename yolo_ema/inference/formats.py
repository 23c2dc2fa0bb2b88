"""The formats of weights, distinguished by their names, and the package that runs each."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from yolo_ema.errors import DamagedWeightsError, MissingPackageError
from yolo_ema.io.resources import missing_weights

SUFFIXES = {
    ".pt": "pt",
    ".pth": "pt",
    ".torchscript": "torchscript",
    ".onnx": "onnx",
    "_openvino_model": "openvino",
    ".engine": "engine",
    ".mlpackage": "coreml",
    ".mlmodel": "coreml",
    ".aimodel": "coreai",
    "_saved_model": "saved_model",
    ".pb": "pb",
    "_edgetpu.tflite": "edgetpu",
    ".tflite": "litert",
    "_paddle_model": "paddle",
    ".mnn": "mnn",
    "_ncnn_model": "ncnn",
    "_imx_model": "imx",
    "_rknn_model": "rknn",
    "_executorch_model": "executorch",
    "_axelera_model": "axelera",
    "_deepx_model": "deepx",
    "_qnn.onnx": "qnn",
    "_hailo_model": "hailo",
    "_ascend_model": "ascend",
    "_xilinx_model": "xilinx",
}
"""How the name of weights ends, and what Ultralytics calls that format."""

_PACKAGES = {  # format: what must be importable, and what brings it
    "onnx": ("onnxruntime", "yolo-ema[onnx]"),
    "openvino": ("openvino", "yolo-ema[openvino]"),
    "ncnn": ("ncnn", "yolo-ema[ncnn]"),
    "engine": ("tensorrt", "tensorrt"),
    "coreml": ("coremltools", "coremltools"),
    "saved_model": ("tensorflow", "tensorflow"),
    "pb": ("tensorflow", "tensorflow"),
    "litert": ("ai_edge_litert", "ai-edge-litert"),
    "mnn": ("MNN", "MNN"),
    "paddle": ("paddle", "paddlepaddle"),
    "executorch": ("executorch", "executorch"),
}


def format_of(weights: str | Path) -> str:
    """Return the format of a weights file or folder as Ultralytics names it, such as ``pt``,
    ``onnx`` or ``openvino``.

    Raises:
        WeightsNotFoundError: there is no such file.
        DamagedWeightsError: its name tells no known format.
    """
    path = Path(weights)
    if not path.exists():
        raise missing_weights(path)
    name = path.name.lower()
    # The suffix that ends last wins, then the longest: best.pt.onnx is ONNX.
    matches = [
        (name.rfind(suffix) + len(suffix), len(suffix), format_name)
        for suffix, format_name in SUFFIXES.items()
        if suffix in name
    ]
    if not matches:
        raise DamagedWeightsError(
            f"{path} does not end like a known format; expected .pt, .onnx, _openvino_model or "
            f"another export"
        )
    return max(matches)[2]


def check_package(weights: Path, format_name: str) -> None:
    """Raise `MissingPackageError` where the package that runs a format is not installed."""
    package, source = _PACKAGES.get(format_name, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise MissingPackageError(
            f"{weights} needs the package {package}; install it with: pip install '{source}'"
        )
