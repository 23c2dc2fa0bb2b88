"""Options of ``yolo-ema val``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option
from yolo_ema.options.tiles import MERGES, tile_problems

__all__ = ["ValOptions"]


@dataclass(frozen=True, kw_only=True)
class ValOptions(Options):
    """Which weights to score on which images, and what to write beside the figures."""

    weights: Path = option(
        help="a .pt of ours or of Ultralytics, an exported file or folder, or the name of shipped "
        "weights",
        weights=True,
    )
    data: str = option(
        "visdrone",
        help="visdrone, a folder in VisDrone's layout, a data YAML, or the name of one of "
        "Ultralytics'",
    )
    split: str = option("val", help="the dataset's split: train, val or test (test-dev)")
    imgsz: tuple[int, ...] = option(
        (), help="input size in pixels, one number or height,width; without it the weights' own"
    )
    rectangular: bool = option(
        True,
        help="shrink the input to an image's shape where the weights allow it; without it they see "
        "the full, padded input",
    )
    conf: float = option(0.001, help="lowest score that counts, 0 to 1")
    iou: float = option(
        0.7, help="overlap above which the weaker of two boxes of a class is dropped, 0 to 1"
    )
    max_det: int = option(
        500,
        help="most detections an image; the protocols look at up to 500, and fewer is not their "
        "figure",
    )
    batch: int = option(
        1, help="images a forward pass; above 1 images of unequal shape share the full input size"
    )
    tile: str = option(
        "off",
        metavar="auto|off|WxH",
        help="look at large images in tiles of this width and height in pixels, as detect does",
    )
    overlap: float = option(
        0.2, help="overlap of neighbouring tiles as a share of the tile, 0 to 0.9"
    )
    whole_frame: bool | None = option(
        None, help="also look at the whole frame, for what is larger than the overlap; default: yes"
    )
    merge: str = option("nms", choices=MERGES, help="how the tiles' boxes become one set")
    map: tuple[str, ...] = option(
        (),
        metavar="WEIGHTS=DATA",
        help="which class of the weights counts as which of the data, as in person=pedestrian",
    )
    save_results: Path | None = option(
        None, metavar="DIR", help="write the detections there in VisDrone's submission format"
    )
    report: Path | None = option(
        None,
        metavar="DIR",
        help="write a page there, report.html, that shows where the weights fail",
    )
    device: str = option("auto", help="auto, cpu, cuda, or a GPU's number")
    half: bool = option(False, help="half precision, on a GPU")
    max_pixels: int = option(
        350_000_000, help="refuse images with more pixels, before decoding them"
    )
    strict: bool = option(
        False,
        help="refuse to score where a row of the ground truth cannot be read, instead of leaving "
        "it out",
    )
    trust: bool = option(
        False, help="load weights that carry code; only for files you made yourself"
    )

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name in ("conf", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"--{name} is {getattr(self, name)}; expected 0 to 1"
        for name in ("batch", "max_det", "max_pixels"):
            if getattr(self, name) < 1:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more"
        yield from tile_problems(self.tile, self.overlap)
        if len(self.imgsz) > 2 or any(side < 32 for side in self.imgsz):
            yield (
                f"--imgsz is {' '.join(map(str, self.imgsz))}; expected one number or "
                f"height,width, each 32 or more"
            )
        for name, folder in (("--save-results", self.save_results), ("--report", self.report)):
            if folder is not None and folder.exists() and not folder.is_dir():
                yield f"{name} is {folder}, which is a file; expected a folder"
        for pair in self.map:
            weights_name, equals, data_name = pair.partition("=")
            if not (weights_name and equals and data_name):
                yield (
                    f"--map has {pair!r}; expected a class of the weights, =, and a class of "
                    f"the "
                    f"data, as in person=pedestrian"
                )
