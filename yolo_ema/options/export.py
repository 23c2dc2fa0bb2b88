"""Options of ``yolo-ema export``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option

__all__ = ["FORMATS", "PRECISIONS", "ExportOptions"]

FORMATS = (
    *(
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
    ),
    *("ncnn", "imx", "rknn", "executorch", "axelera", "deepx", "qnn", "hailo", "ascend", "xilinx"),
)
"""The formats that Ultralytics exports to, by its names."""

PRECISIONS = ("fp16", "int8")
"""What ``--quantize`` takes."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """Which weights to write in which formats, and how to prove that what was written is right."""

    weights: Path = option(help="the .pt to export, or the name of shipped weights", weights=True)
    format: tuple[str, ...] = option(("onnx",), choices=FORMATS, help="formats to write")
    out: Path | None = option(
        None,
        help="file (of one format) or folder to write; without it beside the weights, or here "
        "where those came with a wheel",
    )
    imgsz: tuple[int, ...] = option(
        (),
        help="input size in pixels, one number or height,width, raised to the weights' stride; "
        "without it the weights' own",
    )
    dynamic: bool = option(False, help="let the file take any batch, height and width")
    batch: int = option(1, help="images a forward pass; with --dynamic the most")
    quantize: str | None = option(
        None,
        choices=PRECISIONS,
        help="precision below float32: fp16 halves the file, int8 quarters it",
    )
    data: str | None = option(
        None,
        help="dataset, as in val: int8 is calibrated on its train split, and fp16's and int8's "
        "loss measured on its val split",
    )
    calibrate: tuple[Path, ...] = option(
        (), help="images, or folders of them, to calibrate int8 on, instead of those of --data"
    )
    calibration_images: int = option(
        128, help="most images to calibrate on, evenly spread over those there are"
    )
    nms: bool | None = option(
        None,
        help="put NMS into the file, or take the head that needs none; without it NMS is done "
        "outside",
    )
    conf: float = option(
        0.25, help="lowest score that counts, 0 to 1; matters where NMS is in the file"
    )
    iou: float = option(
        0.7,
        help="overlap above which the weaker of two boxes is dropped, 0 to 1; matters where NMS is "
        "in the file",
    )
    max_det: int = option(1000, help="most objects an image; matters where the file chooses them")
    device: str = option("cpu", help="auto, cpu, cuda, or a GPU's number")
    images: tuple[Path, ...] = option(
        (), help="images, or folders of them, to prove the file on; without it drawn scenes"
    )
    prove: bool = option(
        True,
        help="prove that the file gives the boxes of the weights; without it the file's name ends "
        "in -unproven until verify",
    )
    tolerance_px: float = option(
        0.02,
        help="largest difference of a box's side, in pixels of the input, a float file may show",
    )
    tolerance_score: float = option(
        0.0005, help="largest difference of a score, as a share of it, a float file may show"
    )
    max_ap_loss: float = option(
        1.0, help="largest loss of official AP on --data, in percent points, of fp16 and int8"
    )
    max_ap50_loss: float = option(
        2.0, help="largest loss of official AP50 on --data, in percent points, of fp16 and int8"
    )
    report: Path | None = option(
        None, metavar="FILE", help="write what was compared there, as JSON"
    )
    trust: bool = option(
        False, help="load a .pt although it carries code; only for files you made yourself"
    )
    settings: dict[str, str] = option(
        {}, overrides=True, help="any export setting of Ultralytics, as in opset=17 simplify=false"
    )

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name in ("conf", "iou", "tolerance_score"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 0 to 1"
        for name in ("batch", "max_det", "calibration_images"):
            if getattr(self, name) < 1:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more"
        for name in ("tolerance_px", "max_ap_loss", "max_ap50_loss"):
            if getattr(self, name) < 0:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 0 or more"
        if len(self.imgsz) > 2 or any(side < 32 for side in self.imgsz):
            yield (
                f"--imgsz is {','.join(map(str, self.imgsz))}; expected one number or "
                f"height,width, each 32 or more"
            )
        if not self.format:
            yield "--format is empty; expected at least one format"
        if (
            self.out is not None
            and self.out.suffix
            and len(self.format) > 1
            and not self.out.is_dir()
        ):
            yield (
                f"--out is the file {self.out}, and {len(self.format)} formats are asked for; "
                f"name a folder"
            )
        if self.quantize == "int8" and not self.data and not self.calibrate:
            yield (
                "--quantize int8 needs images to calibrate on: give --data or --calibrate; none "
                "are downloaded"
            )
        if self.calibrate and self.quantize != "int8":
            yield "--calibrate is for --quantize int8"
