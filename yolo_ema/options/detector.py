"""`DetectorConfig`: weights, thresholds, tiles, tracking, for ``detect`` and `Detector`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from yolo_ema.options.class_names import (
    group_iou_option,
    group_problems,
    ids_named,
    nms_groups_option,
)
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
from yolo_ema.options.tiles import TileOptions

__all__ = ["INPUT", "TRACKERS", "TRACKING", "DetectorConfig", "fps_option"]

TRACKERS = ("drone", "botsort", "bytetrack", "deepocsort", "fasttrack", "ocsort", "tracktrack")
INPUT, TRACKING = "input", "tracking and counting"
_LONGEST_S = 1e9
_input_option = partial(option, group=INPUT)
_model_option = partial(option, group=MODEL)
_tracking_option = partial(option, group=TRACKING)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(TileOptions):
    """How `Detector` detects: with which weights, thresholds, tiles and tracker.

    Values may be given as Python code has them: ``tile=(640, 640)``, ``imgsz=640`` or
    ``imgsz=640.0``, ``device=0``, lists, numpy's numbers. They are kept in one form.

    Examples:
        >>> from yolo_ema import Detector, DetectorConfig
        >>> config = DetectorConfig(weights="best.onnx", conf=0.4, tile="640x640", track=True)
        >>> Detector(config=config).config.conf
        0.4
    """

    max_pixels: int = max_pixels_option(INPUT)
    vid_stride: int = _input_option(
        1,
        metavar="N",
        help="take every N-th frame of a video or live source: frames 0, N, 2N, …",
        at_least=1,
    )
    start: float = _input_option(
        0.0, help="begin this far into each video", at_least=0, at_most=_LONGEST_S, unit="seconds"
    )
    end: float | None = _input_option(
        None,
        help="end before the frame at this time of each video; default: its own end",
        above=0,
        at_most=_LONGEST_S,
        unit="seconds",
    )
    weights: Path | None = _model_option(
        None,
        help="a .pt or an exported file; default: the weights that come with the project, as ONNX "
        "where torch is not installed",
        weights=True,
    )
    imgsz: tuple[int, ...] = imgsz_option(
        default="the weights' own, or a larger one that --tile auto chooses"
    )
    conf: float | None = conf_option(None, more="; default: what the weights recommend, or 0.25")
    iou: float | None = iou_option(
        default=None, more="; default: what the weights recommend, or 0.7"
    )
    max_det: int = max_det_option(help="maximum objects per frame; frames that reach it are named")
    classes: tuple[str, ...] = _model_option((), help="only these classes, by name, as in car,bus")
    nms_groups: tuple[str, ...] = nms_groups_option()
    group_iou: float = group_iou_option()
    device: str = device_option(group=MODEL)
    half: bool = _model_option(False, help="half precision, on a GPU")
    trust: bool = trust_option("load a .pt even if it carries code", MODEL)
    track: bool = _tracking_option(
        False,
        help="track the objects of a video, a live source or a folder of images: each keeps its "
        "identity from frame to frame",
    )
    tracker: str = _tracking_option(
        "drone",
        choices=TRACKERS,
        help="the tracker: drone (for small objects) or one of Ultralytics",
    )
    follow_camera: bool = _tracking_option(
        True, help="compensate for the camera's own motion before matching"
    )

    @property
    def tracks(self) -> bool:
        """Whether to track."""
        return self.track

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if self.end is not None and self.end <= self.start:
            yield f"--end is {self.end:g} and --start {self.start:g}; expected a later end"
        yield from group_problems(self.nms_groups)

    def class_ids(self, names: Mapping[int, str]) -> list[int] | None:
        """Return the ids of every class that has one of the names in ``classes``; None for all.

        Args:
            names: the classes that the weights know, by id; several may have one name.

        Raises:
            ConfigError: the weights do not know a class.
        """
        return ids_named(self.classes, names) if self.classes else None


def fps_option() -> Any:
    """Return ``--fps``."""
    return option(
        30.0,
        metavar="RATE",
        help="with --track, the frame rate of a folder of images, which is one sequence",
        above=0,
        at_most=1000,
        unit="frames per second",
        group=INPUT,
    )
