"""Options of ``yolo-ema bench``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.export import FORMATS, PRECISIONS, calibration_problems
from yolo_ema.options.fields import Options, option
from yolo_ema.options.shared import (
    MODEL,
    conf_option,
    device_option,
    imgsz_option,
    iou_option,
    max_det_option,
    trust_option,
)

DEFAULT_FORMATS = ("onnx", "openvino", "torchscript", "ncnn")
"""What runs on any processor."""

MOST_IMAGES = 64
_FILES, _MEASURING = "files", "measuring"
_files_option = partial(option, group=_FILES)
_measuring_option = partial(option, group=_MEASURING)


@dataclass(frozen=True, kw_only=True)
class BenchOptions(Options):
    """Which runtimes to compare on this machine, on what, and for how long."""

    GROUPS = (_FILES, MODEL, _MEASURING)

    weights: Path = _files_option(help="the .pt that every runtime is compared with", weights=True)
    format: tuple[str, ...] = _files_option(
        (),
        choices=FORMATS,
        help=f"formats to export to and run; default: {','.join(DEFAULT_FORMATS)}, or none with "
        "--artifact",
    )
    artifact: tuple[Path, ...] = _files_option(
        (),
        metavar="FILE",
        help="exported files or folders of these weights, to run as they are",
        weights=True,
    )
    quantize: tuple[str, ...] = _files_option(
        (), choices=PRECISIONS, help="lower precisions to export each format in, besides float32"
    )
    data: str | None = _files_option(
        None, help="dataset, as in val, whose train split int8 is calibrated on"
    )
    calibrate: tuple[Path, ...] = _files_option(
        (), help="images, or folders of them, to calibrate int8 on, instead of those of --data"
    )
    trust: bool = trust_option(
        "load a .pt even if it carries code, and --artifact files that are programs", _FILES
    )
    imgsz: tuple[int, ...] = imgsz_option()
    conf: float = conf_option()
    iou: float = iou_option()
    max_det: int = max_det_option(help="maximum objects per image")
    device: str = device_option(
        group=MODEL,
        help="cpu, cuda, a GPU number, or auto: the CPU, and a GPU as well if there is one",
    )
    precision: str = option(
        "auto",
        choices=("auto", "f32", "bf16"),
        help="what OpenVINO computes in; auto: bf16 on an x86 processor with AMX, otherwise f32",
        group=MODEL,
    )
    images: tuple[Path, ...] = _measuring_option(
        (),
        help=f"images, or folders of them, to run on, {MOST_IMAGES} at most; default: four drawn "
        "scenes of 1920x1080",
    )
    threads: int | None = _measuring_option(
        None, help="threads per runtime; default: all cores that this process may use", at_least=1
    )
    rounds: int = _measuring_option(
        10, help="rounds, in each of which every runtime processes every image once", at_least=1
    )
    batch: int = _measuring_option(
        4,
        help="images per call when throughput is measured, for runtimes that take several",
        at_least=1,
    )
    time_limit: float = _measuring_option(
        300.0,
        help="give up on a runtime that does not answer for this long",
        above=0,
        unit="seconds",
    )

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats to export to."""
        return self.format or (() if self.artifact else DEFAULT_FORMATS)

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from calibration_problems("int8" in self.quantize, self.data, self.calibrate)
        if self.quantize and not self.formats:
            yield "--quantize is for exported formats; name them with --format"
