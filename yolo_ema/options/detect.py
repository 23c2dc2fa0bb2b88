"""Options of ``yolo-ema detect``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option
from yolo_ema.options.tiles import MERGES, tile_problems

__all__ = ["RTSP_TRANSPORTS", "SAVED_KINDS", "TRACKERS", "DetectOptions"]

SAVED_KINDS = (
    "annotated",
    "jsonl",
    "csv",
    "coco",
    "visdrone",
    "yolo",
    "crops",
    "mot",
    "visdrone-mot",
    "none",
)
RTSP_TRANSPORTS = ("tcp", "udp", "udp_multicast", "http")
TRACKERS = ("drone", "botsort", "bytetrack", "deepocsort", "fasttrack", "ocsort", "tracktrack")
_ABOUT_IDENTITIES = {"mot", "visdrone-mot"}
_HIGHEST_RATE = 1000


@dataclass(frozen=True, kw_only=True)
class DetectOptions(Options):
    """What to detect on, with which weights, how, and what to write."""

    source: tuple[str, ...] = option(
        positional=True,
        help="images, videos, folders, patterns such as 'flight/*.jpg', cameras by number, "
        "addresses such as rtsp://host/live, "
        "or a .txt list of these",
    )
    weights: Path | None = option(
        None,
        help="a .pt or an exported file; without it the weights shipped with the project",
        weights=True,
    )
    out: Path | None = option(
        None,
        metavar="DIR",
        help="folder for what is written, where no file is replaced; default: a fresh one in runs/",
    )
    save: tuple[str, ...] = option(
        ("annotated", "jsonl"), choices=SAVED_KINDS, help="what to write, separated by commas"
    )
    yolo_scores: bool = option(False, help="with --save yolo, append scores to the labels")
    crop_limit: int = option(10_000, help="with --save crops, the most pictures in all")
    tile: str = option(
        "auto",
        metavar="auto|off|WxH",
        help="look at large images in tiles of this width and height in pixels, or as a whole",
    )
    overlap: float = option(
        0.2, help="overlap of neighbouring tiles as a share of the tile, 0 to 0.9"
    )
    whole_frame: bool | None = option(
        None,
        help="also look at the whole frame, for what is larger than a tile; default: as needed",
    )
    merge: str = option("nms", choices=MERGES, help="how the tiles' boxes become one set")
    track: bool = option(
        False,
        help="give the objects of a video, a live source or a folder of pictures identities that "
        "last from frame to frame",
    )
    fps: float = option(
        30.0,
        metavar="RATE",
        help="with --track, frames a second of a folder of pictures, which is one sequence",
    )
    tracker: str = option(
        "drone",
        choices=TRACKERS,
        help="how identities are kept: drone, or a tracker of Ultralytics",
    )
    follow_camera: bool = option(True, help="take the camera's own motion out before matching")
    trails: float = option(
        2.0, metavar="SECONDS", help="draw where tracked objects were; 0 for no trails"
    )
    count_line: tuple[str, ...] = option(
        (),
        repeated=True,
        metavar="[NAME=]X1,Y1,X2,Y2",
        help="count what crosses this line, in pixels, or shares of the frame where none is above "
        "1; from the first point to the "
        "second, left to right is in; may be given several times",
    )
    zone: tuple[str, ...] = option(
        (),
        repeated=True,
        metavar="[NAME=]X1,Y1,…,XN,YN",
        help="count what is in this polygon, enters and leaves it; may be given several times",
    )
    count_at: str = option(
        "centre", choices=("centre", "bottom"), help="the point of a box that counts"
    )
    count_on: str = option(
        "picture",
        choices=("picture", "ground"),
        help="lines and zones stay in the picture, or on the ground",
    )
    imgsz: tuple[int, ...] = option(
        (), help="input size in pixels, one number or height,width; without it the weights' own"
    )
    conf: float = option(0.25, help="lowest score that counts, 0 to 1")
    iou: float = option(
        0.7, help="overlap above which the weaker of two boxes of a class is dropped, 0 to 1"
    )
    max_det: int = option(1000, help="most objects a frame; a frame that reaches it is named")
    classes: tuple[str, ...] = option((), help="only these classes, by name, as in car,bus")
    device: str = option("auto", help="auto, cpu, cuda, or a GPU's number")
    half: bool = option(False, help="half precision, on a GPU")
    every_frame: bool = option(
        False, help="of a live source take every frame, in place of the newest one"
    )
    open_timeout: float = option(
        3.0, metavar="SECONDS", help="how long a camera or stream may take to answer"
    )
    read_timeout: float = option(
        3.0,
        metavar="SECONDS",
        help="without a frame for so long, a live source is connected to again",
    )
    stale_after: float = option(
        4.5,
        metavar="SECONDS",
        help="without a new or changed picture for so long, a source is flagged",
    )
    rtsp_transport: str = option(
        "tcp", choices=RTSP_TRANSPORTS, help="what RTSP streams come through"
    )
    give_up_after: float | None = option(
        None,
        metavar="SECONDS",
        help="end a live source that stays away so long; without it, it is awaited for ever",
    )
    serve: int | None = option(
        None,
        metavar="PORT",
        help="show annotated frames, counts and rates on a web page; 0 picks a port",
    )
    serve_host: str = option(
        "127.0.0.1",
        metavar="ADDRESS",
        help="address of that page; any but this machine's own wants a token",
    )
    serve_token: str | None = option(
        None,
        metavar="WORD",
        help="what a viewer of that page must know; YOLO_EMA_TOKEN sets it too",
    )
    show: bool = option(False, help="show the annotated frames in a window; q ends it")
    max_pixels: int = option(
        350_000_000, help="refuse images with more pixels, before decoding them"
    )
    trust: bool = option(
        False, help="load a .pt although it carries code; only for files you made yourself"
    )

    @property
    def tracks(self) -> bool:
        """Whether identities are wanted: by name, or because something that is asked for needs
        them.
        """
        return (
            self.track
            or bool(self.count_line or self.zone)
            or not _ABOUT_IDENTITIES.isdisjoint(self.save)
        )

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        if not self.source:
            yield (
                "no source is given; expected images, videos, folders, a camera's number or an "
                "address"
            )
        for name in ("conf", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"--{name} is {getattr(self, name)}; expected 0 to 1"
        for name in ("max_det", "max_pixels", "crop_limit"):
            if getattr(self, name) < 1:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more"
        if len(self.imgsz) > 2 or any(side < 32 for side in self.imgsz):
            yield (
                f"--imgsz is {' '.join(map(str, self.imgsz))}; expected one number or "
                f"height,width, each 32 or more"
            )
        yield from tile_problems(self.tile, self.overlap)
        yield from self._output_problems()

    def _output_problems(self) -> Iterator[str]:
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            yield f"--out is {self.out}, which is a file; expected a folder"
        if "none" in self.save and len(self.save) > 1:
            yield f"--save is {','.join(self.save)}; none stands alone"
        if not 0 < self.fps <= _HIGHEST_RATE:
            yield (
                f"--fps is {self.fps}; expected frames a second, more than 0 and at most "
                f"{_HIGHEST_RATE}"
            )
        for name in ("open_timeout", "read_timeout", "stale_after", "give_up_after"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                yield f"--{name.replace('_', '-')} is {value}; expected seconds, more than 0"
        if not self.trails >= 0:
            yield f"--trails is {self.trails}; expected seconds, 0 or more"
        if self.serve is not None and not 0 <= self.serve <= 65535:
            yield f"--serve is {self.serve}; expected a port from 0 to 65535"
