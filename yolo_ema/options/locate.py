"""Options of ``yolo-ema locate``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.options.fields import option
from yolo_ema.options.mapping import MAP, MapOptions
from yolo_ema.options.telemetry import TELEMETRY

__all__ = ["MAP_LAYERS", "MAP_SUFFIXES", "LocateOptions"]

MAP_SUFFIXES = (".geojson", ".gpkg", ".kml", ".html", ".csv")
MAP_LAYERS = ("objects", "paths", "sightings", "coverage")
_INPUT, _OUTPUT = "input", "output"
_input_option = partial(option, group=_INPUT)


@dataclass(frozen=True, kw_only=True)
class LocateOptions(MapOptions):
    """Which results of detection to put on the map, by which telemetry, and how.

    Examples:
        >>> from yolo_ema import LocateOptions
        >>> LocateOptions(results=["detections.jsonl"], pitch=-60, camera="mavic3").max_error
        25.0
    """

    GROUPS = (_INPUT, TELEMETRY, MAP, _OUTPUT)

    results: tuple[Path, ...] = _input_option(
        positional=True,
        help="files that detect wrote for one flight: detections.jsonl, detections.csv, or MOT "
        "files (.txt)",
    )
    source: tuple[str, ...] = _input_option(
        (),
        repeated=True,
        metavar="FILE",
        help="where a video or image is now, if not where detect read it, to find telemetry "
        "next to and inside it; matched by file name; may be repeated",
    )
    frame_size: tuple[int, ...] = _input_option(
        (),
        metavar="WIDTH,HEIGHT",
        help="size of the frames in pixels, which MOT files do not state",
    )
    fps: float | None = _input_option(
        None,
        metavar="RATE",
        help="frame rate of MOT files, which they do not state",
        above=0,
        unit="frames per second",
    )
    out: tuple[Path, ...] = option(
        (Path("objects.geojson"),),
        metavar="FILE",
        help="what to write: .geojson, .gpkg (GeoPackage), .kml, .html (a page), .csv (every "
        "sighting); a file of that name is replaced",
        group=_OUTPUT,
    )
    layers: tuple[str, ...] = option(
        ("objects", "paths", "coverage"),
        choices=MAP_LAYERS,
        help="layers of GeoJSON and KML, separated by commas; a GeoPackage has all",
        group=_OUTPUT,
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if not self.results:
            yield "no file of results given; expected detections.jsonl, detections.csv or MOT files"
        if not self.out:
            yield "--out names no file"
        given: list[str | Path] = [
            *self.results,
            *self.source,
            *self.telemetry,
            *([self.dem] if self.dem else []),
        ]
        read = {os.path.realpath(file) for file in given}
        for path in self.out:
            if path.suffix.lower() not in MAP_SUFFIXES:
                yield f"--out has {path}; expected a name that ends in {', '.join(MAP_SUFFIXES)}"
            elif path.is_dir():
                yield f"--out has {path}, which is a folder; expected a file"
            elif os.path.realpath(path) in read:
                yield f"--out has {path}, which is read; expected another file"
        if self.frame_size and (len(self.frame_size) != 2 or min(self.frame_size) < 1):
            yield (
                f"--frame-size is {','.join(map(str, self.frame_size))}; expected width,height in "
                "pixels"
            )
