"""Telemetry of a video of which only a part was detected on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.detect.flight_poses import locate_flight
from yolo_ema.detect.map_output import MapOutput
from yolo_ema.detect.result_files import ResultSource
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks.sink import FrameContext
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.options.mapping import MapOptions

RATE, SECONDS = 4, 10


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """Ten seconds, with subtitles."""
    path = tmp_path / "flight.mp4"
    with VideoWriter(path, frame_rate=Fraction(RATE), image_wh=(96, 64)) as writer:
        for number in range(RATE * SECONDS):
            writer.write(np.full((64, 96, 3), number, np.uint8))
    cues = [
        f"{number + 1}\n00:00:{number / RATE:06.3f} --> 00:00:{(number + 1) / RATE:06.3f}\n"
        "[focal_len: 24] [latitude: 47.1234] [longitude: 8.765432] [rel_alt: 42.000 abs_alt: "
        "450.000] [gb_yaw: 0.0 gb_pitch: -60.0 gb_roll: 0.0]\n"
        for number in range(RATE * SECONDS)
    ]
    (tmp_path / "flight.SRT").write_text("\n".join(cues))
    return path


def found_at(source: str, number: int) -> FrameDetections:
    frame = Frame(np.zeros((64, 96, 3), np.uint8), source, number, number / RATE)
    box = np.array([[40.0, 30, 60, 40]])
    return FrameDetections(frame, box, np.array([0.9]), np.array([0]), {0: "car"})


def mapped(source: str, options: MapOptions, folder: Path, *, all_frames: bool) -> MapOutput:
    """Return the map of the first two seconds."""
    output = MapOutput(folder, ("geojson",), options, has_all_frames=all_frames)
    for number in range(2 * RATE):
        output.write(
            found_at(source, number),
            FrameContext(Fraction(RATE), "flight"),
        )
    output.close()
    return output


def test_a_part_of_a_video_has_the_telemetry_of_the_whole(flight: Path, tmp_path: Path) -> None:
    output = mapped(str(flight), MapOptions(), tmp_path, all_frames=True)
    assert output.problems == {}
    assert output.flight.objects_per_class == {"car": 1}
    frames = output._sources[str(flight)].frames
    _, problems = locate_flight([ResultSource(str(flight), frames)], MapOptions())
    assert problems == {}  # as ``locate`` reads it


def test_where_the_video_is_gone_what_was_asked_for_counts(flight: Path, tmp_path: Path) -> None:
    """All frames of a clip of two seconds do not fit ten of telemetry; of a part nobody knows."""
    options = MapOptions(telemetry=(str(flight.with_suffix(".SRT")),))
    flight.unlink()
    whole = mapped(str(flight), options, tmp_path, all_frames=True)
    assert "it is 8.0 s longer" in whole.problems[str(flight)]
    part = mapped(str(flight), options, tmp_path, all_frames=False)
    assert part.problems == {}
