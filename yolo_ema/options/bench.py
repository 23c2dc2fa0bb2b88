"""Options of ``yolo-ema bench``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.export import FORMATS, PRECISIONS
from yolo_ema.options.fields import Options, option

__all__ = ["USUAL_FORMATS", "BenchOptions"]

USUAL_FORMATS = ("onnx", "openvino", "torchscript", "ncnn")
"""What runs on any processor."""

_MOST_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class BenchOptions(Options):
    """Which runtimes to compare on this machine, on what, and for how long."""

    weights: Path = option(help="the .pt that every runtime is compared with", weights=True)
    format: tuple[str, ...] = option(
        (),
        choices=FORMATS,
        help=f"formats to export to and run; default: {','.join(USUAL_FORMATS)}, or none with "
        f"--artifact",
    )
    artifact: tuple[Path, ...] = option(
        (),
        metavar="FILE",
        help="exported files or folders of these weights, to run as they are",
        weights=True,
    )
    quantize: tuple[str, ...] = option(
        (), choices=PRECISIONS, help="lower precisions to export each format in, besides float32"
    )
    data: str | None = option(
        None, help="dataset, as in val, on whose train split int8 is calibrated"
    )
    calibrate: tuple[Path, ...] = option(
        (), help="images, or folders of them, to calibrate int8 on, instead of those of --data"
    )
    imgsz: tuple[int, ...] = option(
        (), help="input size in pixels, one number or height,width; without it the weights' own"
    )
    images: tuple[Path, ...] = option(
        (),
        help=f"images, or folders of them, to run on, at most {_MOST_IMAGES}; without it four "
        f"drawn scenes of 1920x1080",
    )
    threads: int | None = option(
        None, help="threads a runtime; without it all cores that this process may use"
    )
    rounds: int = option(10, help="rounds, in each of which every runtime sees every image once")
    batch: int = option(
        4, help="images a call when throughput is measured, of runtimes that take several"
    )
    device: str = option(
        "auto",
        help="cpu, cuda, a GPU's number, or auto: the processor, and besides it a GPU where there "
        "is one",
    )
    precision: str = option(
        "auto",
        choices=("auto", "f32", "bf16"),
        help="what OpenVINO computes in; auto: what it finds fastest on this processor",
    )
    conf: float = option(0.25, help="lowest score that counts, 0 to 1")
    iou: float = option(
        0.7, help="overlap above which the weaker of two boxes of a class is dropped, 0 to 1"
    )
    max_det: int = option(1000, help="most objects an image")
    time_limit: float = option(
        300.0, metavar="SECONDS", help="a runtime that does not answer for so long is given up"
    )
    trust: bool = option(
        False,
        help="load a .pt although it carries code, and --artifact files that are programs; only "
        "for files you made yourself",
    )

    @property
    def most_images(self) -> int:
        """The most images that are run on."""
        return _MOST_IMAGES

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats to export to."""
        return self.format or (() if self.artifact else USUAL_FORMATS)

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name in ("conf", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"--{name} is {getattr(self, name)}; expected 0 to 1"
        for name in ("rounds", "batch", "max_det", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more"
        if not self.time_limit > 0:
            yield f"--time-limit is {self.time_limit}; expected seconds, more than 0"
        if len(self.imgsz) > 2 or any(side < 32 for side in self.imgsz):
            yield (
                f"--imgsz is {','.join(map(str, self.imgsz))}; expected one number or "
                f"height,width, each 32 or more"
            )
        if "int8" in self.quantize and not self.data and not self.calibrate:
            yield (
                "--quantize int8 needs images to calibrate on: give --data or --calibrate; none "
                "are downloaded"
            )
        if self.quantize and not self.formats:
            yield "--quantize is for exported formats; name them with --format"
