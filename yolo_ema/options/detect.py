"""Options of ``yolo-ema detect``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.detector import INPUT, TRACKING, DetectorConfig, fps_option
from yolo_ema.options.fields import option
from yolo_ema.options.mapping import MAP, MapOptions
from yolo_ema.options.orthomosaic import ORTHOMOSAIC, OrthomosaicOptions
from yolo_ema.options.shared import MODEL
from yolo_ema.options.telemetry import TELEMETRY
from yolo_ema.options.tiles import TILES

SAVED_KINDS = (
    "annotated",
    "jsonl",
    "csv",
    "parquet",
    "coco",
    "visdrone",
    "yolo",
    "crops",
    "mot",
    "visdrone-mot",
    "none",
)
MAP_KINDS = ("geojson", "gpkg", "kml", "html", "positions")
RTSP_TRANSPORTS = ("tcp", "udp", "udp_multicast", "http")
_NEED_TRACKS = {"mot", "visdrone-mot"}
_OUTPUT, _PAGE, _NETWORK = "output", "live page", "network"
_tracking_option = partial(option, group=TRACKING)
_output_option = partial(option, group=_OUTPUT)
_page_option = partial(option, group=_PAGE)
_network_option = partial(option, group=_NETWORK)


@dataclass(frozen=True, kw_only=True)
class DetectOptions(DetectorConfig, MapOptions, OrthomosaicOptions):
    """What to detect on, with which weights, how, and what to write."""

    GROUPS = (INPUT, MODEL, TILES, TRACKING, TELEMETRY, MAP, ORTHOMOSAIC, _OUTPUT, _PAGE, _NETWORK)

    source: tuple[str, ...] = option(
        positional=True,
        help="images, videos, folders, patterns such as 'flight/*.jpg', camera numbers, addresses "
        "such as rtsp://host/live, or a .txt list of these",
        group=INPUT,
    )
    fps: float = fps_option()
    trails: float = _tracking_option(
        2.0,
        help="draw the trails of tracked objects for this long; 0 for none",
        at_least=0,
        unit="seconds",
    )
    count_line: tuple[str, ...] = _tracking_option(
        (),
        repeated=True,
        metavar="[NAME=]X1,Y1,X2,Y2",
        help="count what crosses this line, given in pixels or, where no value is above 1, in "
        "shares of the frame; seen from the first point to the second, left to right is in; may "
        "be repeated",
    )
    zone: tuple[str, ...] = _tracking_option(
        (),
        repeated=True,
        metavar="[NAME=]X1,Y1,…,XN,YN",
        help="count what is in this polygon, enters it and leaves it; may be repeated",
    )
    count_at: str = _tracking_option(
        "centre", choices=("centre", "bottom"), help="the point of a box that counts"
    )
    count_on: str = _tracking_option(
        "picture",
        choices=("picture", "ground"),
        help="lines and zones stay in place in the image (picture) or on the ground",
    )
    out: Path | None = _output_option(
        None,
        metavar="DIR",
        help="folder for the results; no file in it is replaced; default: a new one in runs/",
    )
    save: tuple[str, ...] = _output_option(
        ("annotated", "jsonl"),
        choices=(*SAVED_KINDS, *MAP_KINDS),
        help="what to write, separated by commas; geojson, gpkg, kml, html and positions (CSV) are "
        "maps and need telemetry",
    )
    yolo_scores: bool = _output_option(
        False, help="with --save yolo, append the scores to the labels"
    )
    crop_limit: int = _output_option(
        10_000, help="with --save crops, maximum crops in all", at_least=1
    )
    show: bool = _output_option(False, help="show the annotated frames in a window; q quits")
    serve: int | None = _page_option(
        None,
        metavar="PORT",
        help="show annotated frames, counts and rates on a web page; 0 picks a port",
        at_least=0,
        at_most=65535,
    )
    serve_host: str = _page_option(
        "127.0.0.1",
        metavar="ADDRESS",
        help="address to serve the page on; any but loopback needs a token",
    )
    serve_token: str | None = _page_option(
        None,
        metavar="WORD",
        help="token that viewers of the page must give; YOLO_EMA_TOKEN sets it too",
    )
    every_frame: bool = _network_option(
        False, help="take every frame of a live source instead of the newest"
    )
    open_timeout: float = _network_option(
        3.0, help="how long a camera or stream may take to answer", above=0, unit="seconds"
    )
    read_timeout: float = _network_option(
        3.0,
        help="reconnect to a live source after this long without a frame",
        above=0,
        unit="seconds",
    )
    stale_after: float = _network_option(
        4.5,
        help="flag a live source after this long without a new or changed image",
        above=0,
        unit="seconds",
    )
    rtsp_transport: str = _network_option(
        "tcp", choices=RTSP_TRANSPORTS, help="transport of RTSP streams"
    )
    give_up_after: float | None = _network_option(
        None,
        help="end a live source that stays away this long; default: keep trying",
        above=0,
        unit="seconds",
    )

    @property
    def tracks(self) -> bool:
        """Whether to track: asked for by name, or needed by something else that is asked for."""
        return (
            self.track
            or bool(self.count_line or self.zone)
            or not _NEED_TRACKS.isdisjoint(self.save)
        )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if not self.source:
            yield "no source given; expected images, videos, folders, camera numbers or addresses"
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            yield f"--out is {self.out}, which is a file; expected a folder"
        if self.count_on == "ground" and not (self.follow_camera and self.tracker == "drone"):
            yield (
                "--count-on ground needs the camera's motion, which --tracker drone with "
                "--follow-camera estimates; expected both"
            )
        if "none" in self.save and len(self.save) > 1:
            yield f"--save is {','.join(self.save)}; none cannot be combined"
