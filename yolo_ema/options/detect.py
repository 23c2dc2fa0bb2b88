"""Options of ``yolo-ema detect``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option

__all__ = ["DetectOptions"]


@dataclass(frozen=True, kw_only=True)
class DetectOptions(Options):
    """What to detect on, with which weights, and where to write."""

    source: tuple[str, ...] = option(positional=True, help="images, videos, folders of them, or patterns such as 'flight/*.jpg'")
    weights: Path | None = option(None, help="a .pt or an exported file; without it the weights shipped with the project")
    out: Path | None = option(
        None,
        metavar="DIR",
        help="folder for detections.jsonl and annotated copies, which replace no file; default: a fresh one in runs/",
    )
    imgsz: tuple[int, ...] = option((), help="input size in pixels, one number or height,width; without it the weights' own")
    conf: float = option(0.25, help="lowest score that counts, 0 to 1")
    iou: float = option(0.7, help="overlap above which the weaker of two boxes of a class is dropped, 0 to 1")
    max_det: int = option(1000, help="most objects a frame; a frame that reaches it is named")
    classes: tuple[str, ...] = option((), help="only these classes, by name, as in car,bus")
    device: str = option("auto", help="auto, cpu, cuda, or a GPU's number")
    half: bool = option(False, help="half precision, on a GPU")
    max_pixels: int = option(350_000_000, help="refuse images with more pixels, before decoding them")
    annotate: bool = option(True, help="write annotated copies beside detections.jsonl")
    trust: bool = option(False, help="load a .pt although it carries code; only for files you made yourself")

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        if not self.source:
            yield "no source is given; expected images, videos or folders"
        for name in ("conf", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"--{name} is {getattr(self, name)}; expected 0 to 1"
        for name in ("max_det", "max_pixels"):
            if getattr(self, name) < 1:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more"
        if len(self.imgsz) > 2 or any(side < 32 for side in self.imgsz):
            yield f"--imgsz is {' '.join(map(str, self.imgsz))}; expected one number or height,width, each 32 or more"
