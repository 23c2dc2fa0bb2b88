"""Options of ``yolo-ema export``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.fields import option
from yolo_ema.options.parity import PROOF, ParityOptions
from yolo_ema.options.shared import (
    conf_option,
    device_option,
    imgsz_option,
    iou_option,
    max_det_option,
    trust_option,
)

__all__ = ["FORMATS", "PRECISIONS", "ExportOptions", "calibration_problems"]

FORMATS = (
    "torchscript",
    "onnx",
    "openvino",
    "engine",
    "coreml",
    "coreai",
    "saved_model",
    "pb",
    "edgetpu",
    "litert",
    "paddle",
    "mnn",
    "ncnn",
    "imx",
    "rknn",
    "executorch",
    "axelera",
    "deepx",
    "qnn",
    "hailo",
    "ascend",
    "xilinx",
)
"""The formats that Ultralytics exports to, by its names."""

PRECISIONS = ("fp16", "int8")
"""What ``--quantize`` takes."""

_INPUT_SIZE, _NMS, _QUANTIZATION = "input size", "thresholds inside the file", "quantization"
_quantization_option = partial(option, group=_QUANTIZATION)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ParityOptions):
    """Which weights to write in which formats, and how to prove that what was written is right.

    Examples:
        >>> from yolo_ema import ExportOptions
        >>> ExportOptions(weights="best.pt", format=("onnx", "openvino"), dynamic=True).format
        ('onnx', 'openvino')
    """

    GROUPS = (_INPUT_SIZE, _NMS, _QUANTIZATION, PROOF)

    weights: Path = option(help="the .pt to export, or the name of shipped weights", weights=True)
    format: tuple[str, ...] = option(("onnx",), choices=FORMATS, help="formats to write")
    out: Path | None = option(
        None,
        help="file (of one format) or folder to write; default: next to the weights, or the "
        "current folder for weights from an installed wheel",
    )
    device: str = device_option("cpu")
    trust: bool = trust_option("load a .pt even if it carries code")
    settings: dict[str, str] = option(
        {}, overrides=True, help="any export setting of Ultralytics, as in opset=17 simplify=false"
    )
    imgsz: tuple[int, ...] = imgsz_option(
        _INPUT_SIZE, more=", rounded up to a multiple of the stride"
    )
    dynamic: bool = option(
        False, help="let the file take any batch, height and width", group=_INPUT_SIZE
    )
    batch: int = option(
        1,
        help="images per forward pass; with --dynamic the maximum",
        at_least=1,
        group=_INPUT_SIZE,
    )
    nms: bool | None = option(
        None,
        help="put NMS into the file, or export the head that needs none; default: NMS runs outside",
        group=_NMS,
    )
    conf: float = conf_option(group=_NMS, more="; used if NMS is in the file")
    iou: float = iou_option(_NMS, more="; used if NMS is in the file")
    max_det: int = max_det_option(
        group=_NMS, help="maximum objects per image; for NMS or an NMS-free head in the file"
    )
    quantize: str | None = _quantization_option(
        None,
        choices=PRECISIONS,
        help="precision below float32: fp16 halves the file, int8 quarters it",
    )
    data: str | None = _quantization_option(
        None,
        help="dataset, as in val: int8 is calibrated on its train split, and the loss of fp16 and "
        "int8 is measured on its val split",
    )
    calibrate: tuple[Path, ...] = _quantization_option(
        (), help="images, or folders of them, to calibrate int8 on, instead of those of --data"
    )
    calibration_images: int = _quantization_option(
        128, help="maximum number of calibration images; larger sets are sampled evenly", at_least=1
    )
    prove: bool = option(
        True,
        help="prove that the file gives the boxes of the weights; without it the file's name ends "
        "in -unproven until verify accepts it",
        group=PROOF,
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if not self.format:
            yield "--format is empty; expected at least one format"
        is_file = self.out is not None and self.out.suffix and not self.out.is_dir()
        if is_file and len(self.format) > 1:
            yield (
                f"--out is the file {self.out}, but there are {len(self.format)} formats; name a "
                "folder"
            )
        yield from calibration_problems(self.quantize == "int8", self.data, self.calibrate)
        if self.calibrate and self.quantize != "int8":
            yield "--calibrate is for --quantize int8"


def calibration_problems(
    int8: bool, data: str | None, calibrate: tuple[Path, ...]
) -> Iterator[str]:
    """Yield that int8 has no images to be calibrated on."""
    if int8 and not data and not calibrate:
        yield (
            "--quantize int8 needs images to calibrate on: give --data or --calibrate; none are "
            "downloaded"
        )
