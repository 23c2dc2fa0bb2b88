"""``--save geojson,gpkg,kml,html,positions``: what a run detects, on the map once it has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from yolo_ema.detect.flight_poses import frame_boxes, locate_flight
from yolo_ema.detect.frame_places import check_surface_model
from yolo_ema.detect.result_files import NOT_LOOKED_UP, ResultSource
from yolo_ema.geo.flight_map import FlightMap, map_flight
from yolo_ema.geo.maps.write_map import write_map
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.sink import FrameContext
from yolo_ema.media.sinks.unique_paths import numbered_paths
from yolo_ema.options.mapping import MapOptions

MAP_FILES = {
    "geojson": ("objects", ".geojson"),
    "gpkg": ("objects", ".gpkg"),
    "kml": ("objects", ".kml"),
    "html": ("map", ".html"),
    "positions": ("positions", ".csv"),
}
"""Name and suffix of each kind's file."""


class MapOutput:
    """Keeps the boxes of all frames until the run ends, then puts them on the map: all sources of a
    run are one flight.

    Attributes:
        flight: the map, once closed; None where no source has telemetry.
        problems: by source, why it has no telemetry.
    """

    def __init__(
        self, out: Path, kinds: Sequence[str], options: MapOptions, *, has_all_frames: bool = True
    ) -> None:
        """Start without frames; no file in ``out`` is replaced.

        ``has_all_frames`` says whether the frames that come tell how long their videos are.

        Raises:
            DataNotFoundError: the surface model is not there.
        """
        check_surface_model(options)
        self.flight: FlightMap | None = None
        self.problems: Mapping[str, str] = {}
        self._out, self._kinds, self._options = out, kinds, options
        self._has_all_frames = has_all_frames
        self._sources: dict[str, ResultSource] = {}
        self._paths: dict[str, Path] = {}
        self._closed = False

    @property
    def paths_by_kind(self) -> dict[str, tuple[Path, ...]]:
        """The files, once closed."""
        return {kind: (path,) for kind, path in self._paths.items()}

    def write(
        self,
        found: FrameDetections,
        context: FrameContext,
        live_pose: Pose | NoPose | None = None,
    ) -> None:
        """Take the detections of one frame, and where a live source's camera was."""
        frame = found.frame
        new = ResultSource(frame.source, is_whole=self._has_all_frames)
        source = self._sources.setdefault(frame.source, new)
        pose: Pose | NoPose = NOT_LOOKED_UP
        if context.is_live:
            pose = live_pose or NoPose("no_common_clock", "it is live")
            source.has_poses = True
        source.frames.append(frame_boxes(found, pose, context.image_path))

    def close(self) -> None:
        """Write the map; a second call does nothing.

        Raises:
            DataError: the surface model cannot be used.
            DiskFullError: there is no room.
        """
        if self._closed:
            return
        self._closed = True
        sources = list(self._sources.values())
        located, self.problems = locate_flight(sources, self._options)
        if len(self.problems) == len(sources):
            return
        self.flight = map_flight(located, self._options)
        for kind in self._kinds:
            stem, suffix = MAP_FILES[kind]
            names = numbered_paths(self._out, stem, suffix)
            self._paths[kind] = next(path for path in names if not path.exists())
            write_map(self._paths[kind], self.flight, tiles=self._options.map_tiles)
