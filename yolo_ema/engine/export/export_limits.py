"""What each of Ultralytics' formats can hold; requests that it only warns about are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.engine.exporter import FP16_FORMATS, INT8_FORMATS, export_formats
from ultralytics.nn.modules.head import Detect

from yolo_ema.engine.setup.devices import select_device
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.errors import ConfigError, MachineError, WeightsError
from yolo_ema.options.export import ExportOptions

_NO_TOP_K = frozenset({"rknn", "ncnn", "executorch", "paddle", "imx", "edgetpu", "qnn"})
"""Formats without the top-k operator of the head that needs no NMS."""

_CALIBRATED = frozenset({"deepx", "axelera", "imx", "edgetpu", "qnn", "hailo", "xilinx"})
"""Integer-only formats, which always need calibration images."""

_ONE_IMAGE = frozenset({"ncnn"})
"""Formats whose maps have no batch axis."""

_GPU = frozenset({"engine"})


def check_detector(loaded: LoadedModel, weights: Path) -> None:
    """Raise `WeightsError` unless a model is a detector for colour images."""
    task, head = loaded.metadata.get("task"), getattr(loaded.model, "model", [None])[-1]
    if task != "detect" or not isinstance(head, Detect):
        raise WeightsError(
            f"{weights} is a model for {task!r} ({type(head).__name__}); expected a detector"
        )


def check_request(name: str, options: ExportOptions, model: nn.Module) -> None:
    """Check what is asked for against what the format and the weights can do.

    Raises:
        ConfigError: something cannot be had; everything that is wrong is named.
        MachineError: the format is made on another device.
    """
    if problems := list(_problems(name, options, model)):
        raise ConfigError(f"export to {name}: {'; '.join(problems)}")
    on_gpu = select_device(options.device).type == "cuda"
    if name in _GPU and not on_gpu:
        raise MachineError(
            f"export to {name} runs on the NVIDIA GPU that the file is for: run it there, with "
            f"--device 0"
        )
    if name == "torchscript" and options.quantize == "fp16" and not on_gpu:
        raise MachineError(
            "export to torchscript in fp16 needs a GPU: give --device 0; on a CPU take onnx or "
            "openvino for fp16"
        )


def _problems(name: str, options: ExportOptions, model: Any) -> Iterator[str]:
    formats = export_formats()
    accepted = formats["Arguments"][formats["Argument"].index(name)]
    others = ", ".join(
        name
        for name, keys in zip(formats["Argument"], formats["Arguments"], strict=True)
        if "dynamic" in keys
    )
    if options.dynamic and "dynamic" not in accepted:
        yield f"its files take one size, so --dynamic is not possible; it is in {others}"
    if options.batch > 1 and (name in _ONE_IMAGE or "batch" not in accepted):
        yield f"its files take one image per forward pass, and --batch is {options.batch}"
    if options.nms and "nms" not in accepted:
        yield "its files cannot hold NMS; leave --nms out, and NMS runs outside"
    if options.nms is False and getattr(model.model[-1], "one2one_cv2", None) is None:
        yield (
            "--no-nms exports the head that needs no NMS, and these weights have none; leave it "
            "out, and NMS runs outside"
        )
    elif options.nms is False and name in _NO_TOP_K:
        yield (
            "its files cannot hold the head that needs no NMS; leave --no-nms out, and NMS runs "
            "outside"
        )
    if options.quantize == "fp16" and name not in FP16_FORMATS:
        yield f"it has no fp16; {', '.join(sorted(FP16_FORMATS))} have"
    if options.quantize == "int8" and name not in INT8_FORMATS | _CALIBRATED:
        yield f"it has no int8; {', '.join(sorted(INT8_FORMATS))} have"
    if (
        options.quantize == "int8"
        and name in {"onnx", "openvino"}
        and options.batch > 1
        and not options.dynamic
    ):
        yield "int8 is calibrated one image at a time: leave --batch out, or give --dynamic"
    if options.quantize != "int8" and name in _CALIBRATED:
        yield (
            "its files are int8: give --quantize int8, and --data or --calibrate for images to "
            "calibrate on"
        )
