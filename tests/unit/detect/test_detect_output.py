"""What is remembered of a source from frame to frame while its frames are drawn and counted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from played_sources import source

from yolo_ema.detect.output import DetectOutput
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.options.detect import DetectOptions

NAMES = {0: "car"}


@pytest.mark.parametrize("homography", [None, np.eye(3)])
@pytest.mark.parametrize("place", ["picture", "ground"])
@pytest.mark.parametrize("line", ["gate=0,0.5,1,0.5", "gate=0,200,640,200"])
def test_lines_keep_their_place_when_a_stream_changes_its_size(place, homography, line):
    """A car drives down through the middle of the picture, which is half as large from the third
    frame on.
    """
    options = DetectOptions(source=("cam",), save=("none",), count_line=(line,), count_on=place)
    camera = source()
    with contextlib.closing(DetectOutput(options, Path(), NAMES, list)) as output:
        for index, (scale, y) in enumerate(
            [(1, 100), (1, 150), (0.5, 170), (0.5, 180), (0.5, 220), (0.5, 300)]
        ):
            frame = Frame(
                np.zeros((round(400 * scale), round(640 * scale), 3), np.uint8),
                camera.name,
                index,
                index / 10,
            )
            box = np.array([[310, y - 10, 330, y + 10]], float) * scale
            found = FrameDetections(
                frame, box, np.array([0.9]), np.array([0]), NAMES, np.array([1])
            )
            output.take((SourceEvent(camera, frame), found, homography))
            crossed = output.counts()["cam"]["lines"]["gate"]
            assert crossed["in"] == ({"car": 1} if y > 200 else {}), f"{frame.image_wh}, {y}"
