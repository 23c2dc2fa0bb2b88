"""What each format of Ultralytics' can hold, so that a request it would drop with a warning is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from ultralytics.engine.exporter import FP16_FORMATS, INT8_FORMATS, export_formats

from yolo_ema.engine.setup.devices import select_device
from yolo_ema.errors import ConfigError, MachineError
from yolo_ema.options.export import ExportOptions

__all__ = ["check_request"]

_NO_TOP_K = frozenset({"rknn", "ncnn", "executorch", "paddle", "imx", "edgetpu", "qnn"})
"""Formats without the operator that the head without NMS chooses by."""

_CALIBRATED = frozenset({"deepx", "axelera", "imx", "edgetpu", "qnn", "hailo", "xilinx"})
"""Formats of whole numbers only, for which images to calibrate on are always needed."""

_ONE_IMAGE = frozenset({"ncnn"})
"""Formats whose maps have no axis for several images."""

_GPU = frozenset({"engine"})


def check_request(name: str, options: ExportOptions, model: nn.Module) -> None:
    """Hold what is asked for to what the format and the weights can do.

    Raises:
        ConfigError: one of them cannot; all that is wrong is named.
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
    takes = formats["Arguments"][formats["Argument"].index(name)]
    others = ", ".join(
        name
        for name, keys in zip(formats["Argument"], formats["Arguments"], strict=True)
        if "dynamic" in keys
    )
    if options.dynamic and "dynamic" not in takes:
        yield f"its files take one size, so --dynamic cannot be had; it can in {others}"
    if options.batch > 1 and (name in _ONE_IMAGE or "batch" not in takes):
        yield f"its files take one image a forward pass, and --batch is {options.batch}"
    if options.nms and "nms" not in takes:
        yield "NMS cannot be put into its files; leave --nms out, and NMS is done outside"
    if options.nms is False and getattr(model.model[-1], "one2one_cv2", None) is None:
        yield (
            "--no-nms takes the head that needs no NMS, and these weights have none; leave it "
            "out, and NMS is done outside"
        )
    elif options.nms is False and name in _NO_TOP_K:
        yield (
            "its files cannot hold the head that needs no NMS; leave --no-nms out, and NMS is "
            "done outside"
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
