"""The ``locate`` verb: results of detection and telemetry in, a map out."""

from __future__ import annotations

from yolo_ema.detect.flight_poses import locate_flight
from yolo_ema.detect.locate_result import LocateResult
from yolo_ema.detect.result_files import read_results
from yolo_ema.errors import ConfigError, DataError, TelemetryError
from yolo_ema.geo.flight_map import map_flight
from yolo_ema.geo.maps.write_map import write_map
from yolo_ema.geo.telemetry.tables import holds_poses
from yolo_ema.options.locate import LocateOptions

__all__ = ["locate"]


def locate(options: LocateOptions) -> LocateResult:
    """Put what ``detect`` found on the map.

    The files of results are those of one flight: what they show again is one object.

    Returns:
        The map, and the files that were written.

    Raises:
        ConfigError: a file to write holds poses; or the telemetry asked for cannot be.
        DataNotFoundError: a file of results, or the surface model, is not there.
        AnnotationError: a line of the results cannot be read.
        TelemetryError: no source has telemetry.
        DataError: the surface model cannot be used.
        DiskFullError: there is no room for what is written.

    Examples:
        >>> from yolo_ema import LocateOptions, locate
        >>> result = locate(LocateOptions(results=["detections.jsonl"], telemetry=["poses.csv"]))
        >>> result.flight.objects_per_class
        {'car': 1}
    """
    for path in options.out:
        if path.suffix.lower() == ".csv" and path.is_file() and holds_poses(path):
            raise ConfigError(f"--out has {path}, which holds poses; expected another file")
    sources, remarks = read_results(options.results, frame_size=options.frame_size, fps=options.fps)
    if not sources:
        raise DataError(f"{', '.join(map(str, options.results))}: there are no frames")
    located, problems = locate_flight(sources, options, options.source)
    if len(problems) == len(sources):
        first = next(iter(problems.items()))
        raise TelemetryError(f"no places for {first[0]}: {first[1]}", "not_found")
    flight = map_flight(located, options)
    for path in options.out:
        write_map(path, flight, layers=options.layers, tiles=options.map_tiles)
    return LocateResult(flight, options.out, problems, remarks)
