"""Places of one frame's objects by the pose of its camera: what live and stored sources share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolo_ema.detect.flight_poses import frame_boxes
from yolo_ema.errors import DataNotFoundError
from yolo_ema.geo.camera_heights import FlightGround
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.geo.sightings import LocatedSource, locate_source
from yolo_ema.media.frames import FrameDetections
from yolo_ema.options.mapping import PlacingOptions
from yolo_ema.options.telemetry import TelemetryOptions


def check_surface_model(options: TelemetryOptions) -> None:
    """Raise `DataNotFoundError` where a surface model is asked for that is not there."""
    if options.dem is not None and not options.dem.is_file():
        raise DataNotFoundError(f"there is no surface model {options.dem}")


def place_frame(
    found: FrameDetections,
    pose: Pose | NoPose,
    options: PlacingOptions,
    ground: FlightGround | None,
) -> tuple[FrameDetections, LocatedSource]:
    """Return a frame's objects with their places, NaN where there is none, and how they came about.

    Args:
        found: what was detected in the frame.
        pose: of its camera, or why there is none.
        options: deviations and limits.
        ground: of the whole source; None for that of the options around this pose alone.

    Raises:
        DataError: the surface model cannot be used.
        ConfigError: the calibrated camera is for frames of another shape.
    """
    located = locate_source([frame_boxes(found, pose)], options, ground=ground)
    places = located.sightings.places
    columns = (places.longitude_deg, places.latitude_deg, places.ellipses.semi_major_m)
    placed = np.where(located.sightings.placed[:, None], np.column_stack(columns), np.nan)
    return replace(found, places=placed), located
