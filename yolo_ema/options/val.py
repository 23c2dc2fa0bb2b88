"""Options of ``yolo-ema val``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.class_names import group_iou_option, group_problems, nms_groups_option
from yolo_ema.options.fields import option
from yolo_ema.options.shared import (
    MODEL,
    conf_option,
    device_option,
    imgsz_option,
    iou_option,
    max_det_option,
    max_pixels_option,
    trust_option,
)
from yolo_ema.options.tiles import TILES, TileOptions

__all__ = ["ValOptions"]

_DATA, _OUTPUT = "data", "output"
_data_option = partial(option, group=_DATA)
_model_option = partial(option, group=MODEL)
_tiles_option = partial(option, group=TILES)


@dataclass(frozen=True, kw_only=True)
class ValOptions(TileOptions):
    """Which weights to score on which images, and what to write next to the figures.

    Examples:
        >>> from yolo_ema import ValOptions
        >>> ValOptions(weights="best.pt", data="visdrone", tile="auto").max_det
        500
    """

    GROUPS = (_DATA, MODEL, TILES, _OUTPUT)
    TILE_WORDS = ("recommended", "auto", "off")

    data: str = _data_option(
        "visdrone",
        help="visdrone, a folder in VisDrone's layout, a data YAML, or the name of a dataset that "
        "Ultralytics ships",
    )
    split: str = _data_option("val", help="the dataset's split: train, val or test (test-dev)")
    map: tuple[str, ...] = _data_option(
        (),
        metavar="WEIGHTS=DATA",
        help="which class of the weights stands for which of the data, as in person=pedestrian",
    )
    max_pixels: int = max_pixels_option(_DATA)
    strict: bool = _data_option(
        False,
        help="refuse to score if an image or ground truth cannot be read, instead of skipping it",
    )
    weights: Path = _model_option(
        help="a .pt of ours or of Ultralytics, an exported file or folder, or the name of shipped "
        "weights",
        weights=True,
    )
    imgsz: tuple[int, ...] = imgsz_option(
        default="the weights' own, or a larger one that --tile chooses"
    )
    rectangular: bool = _model_option(
        True,
        help="shrink the input to each image's shape where the weights allow it, instead of "
        "padding it to the full size",
    )
    conf: float = conf_option(0.001)
    iou: float = iou_option()
    nms_groups: tuple[str, ...] = nms_groups_option()
    group_iou: float = group_iou_option()
    max_det: int = max_det_option(
        500,
        help="maximum detections per image; protocols use up to 500, fewer lowers figures",
    )
    batch: int = _model_option(
        1,
        help="images per forward pass; above 1, images of different shapes share the full input "
        "size",
        at_least=1,
    )
    device: str = device_option(group=MODEL)
    half: bool = _model_option(False, help="half precision, on a GPU")
    trust: bool = trust_option("load weights that carry code", MODEL)
    tile: str = _tiles_option(
        "recommended",
        metavar="recommended|auto|off|WxH",
        joined_by="x",
        help="tiles of this width and height in pixels, or auto, as in detect; off: the whole "
        "image at the input size; recommended: auto where the weights carry figures of plans and "
        "no input size is given, otherwise off",
    )
    plans: bool = _tiles_option(
        False,
        help="score whole images, at the weights' input and at larger ones, and tiles side by "
        "side, with what each costs, and name the best",
    )
    write: bool = _tiles_option(
        False,
        help="with --plans, let the weights carry the figures: detect then takes the best plan "
        "and its threshold by default",
    )
    save_results: Path | None = option(
        None,
        metavar="DIR",
        help="write the detections there in VisDrone's submission format",
        group=_OUTPUT,
    )
    report: Path | None = option(
        None,
        metavar="DIR",
        help="write a page there, report.html, that shows where the weights fail",
        group=_OUTPUT,
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        yield from group_problems(self.nms_groups)
        yield from self._problems_of_plans()
        for name, folder in (("--save-results", self.save_results), ("--report", self.report)):
            if folder is not None and folder.exists() and not folder.is_dir():
                yield f"{name} is {folder}, which is a file; expected a folder"
        for pair in self.map:
            weights_name, equals, data_name = pair.partition("=")
            if not (weights_name and equals and data_name):
                yield (
                    f"--map has {pair!r}; expected a class of the weights, =, and a class of the "
                    "data, as in person=pedestrian"
                )

    def _problems_of_plans(self) -> Iterator[str]:
        given = {
            "--tile": self.tile not in {"recommended", "off"},
            "--whole-frame": self.whole_frame is not None,
            "--save-results": self.save_results is not None,
            "--report": self.report is not None,
        }
        if self.plans and any(given.values()):
            named = ", ".join(flag for flag, is_given in given.items() if is_given)
            yield f"--plans scores whole images and tiles; it cannot be combined with {named}"
        if self.write and not self.plans:
            yield "--write is given without --plans; expected both"
