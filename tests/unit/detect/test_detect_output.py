"""What is remembered of a source from frame to frame while its frames are drawn and counted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_onnx import write_onnx
from played_sources import source

from yolo_ema.detect.frame_loop import DetectedEvent
from yolo_ema.detect.output import DetectOutput
from yolo_ema.detect.run import detect
from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.media.sources.video_reader import VideoReader
from yolo_ema.options.detect import DetectOptions

NAMES = {0: "car"}


@pytest.mark.parametrize("homography", [None, np.eye(3)])
@pytest.mark.parametrize("place", ["picture", "ground"])
@pytest.mark.parametrize("line", ["gate=0,0.5,1,0.5", "gate=0,200,640,200"])
def test_lines_keep_their_place_when_a_stream_changes_its_size(place, homography, line):
    """A car drives down through the middle of the image, which is half as large from the third
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
            output.write(DetectedEvent(SourceEvent(camera, frame), found, homography, {}))
            crossed = output.counts()["cam"]["lines"]["gate"]
            assert crossed["in"] == ({"car": 1} if y > 200 else {}), f"{frame.image_wh}, {y}"


def test_a_source_too_small_for_a_line_is_named_and_the_others_are_counted():
    options = DetectOptions(source=("a", "b"), save=("none",), count_line=("gate=200,150,300,150",))
    large, small = source(name="large"), source(name="small")
    with contextlib.closing(DetectOutput(options, Path(), NAMES, list, stems=["a", "b"])) as output:
        for camera, wh in ((large, (320, 192)), (small, (192, 128)), (large, (320, 192))):
            output.write(tracked_event(camera, wh))
        assert set(output.counts()) == {"large"}
        assert set(output.problems) == {"small"}
        assert "nothing is counted in small" in output.problems["small"]
        assert "'gate' lies outside" in output.problems["small"]


def test_a_camera_that_changes_its_size_leaves_the_others_their_names(tmp_path):
    options = DetectOptions(source=("live", "live-2"), save=("annotated",))
    cameras = source(name="live"), source(name="live-2")
    stems = [camera.stem for camera in cameras]
    with contextlib.closing(DetectOutput(options, tmp_path, NAMES, list, stems=stems)) as output:
        for number, side in ((0, 64), (0, 96), (0, 64), (1, 128)):
            output.write(tracked_event(cameras[number], (side, side)))
    sides = {path.name: side_of(path) for path in tmp_path.iterdir()}
    assert sides == {"live.mp4": 64, "live-3.mp4": 96, "live-4.mp4": 64, "live-2.mp4": 128}


def test_a_line_outside_the_only_source_is_an_error():
    options = DetectOptions(source=("a",), save=("none",), count_line=("gate=200,150,300,150",))
    with (
        contextlib.closing(DetectOutput(options, Path(), NAMES, list)) as output,
        pytest.raises(ConfigError, match="'gate' lies outside"),
    ):
        output.write(tracked_event(source(), (192, 128)))


def side_of(video: Path) -> int:
    with contextlib.closing(VideoReader(video)) as reader:
        return next(iter(reader))[0].shape[0]


def tracked_event(camera, image_wh: tuple[int, int]) -> DetectedEvent:
    """A frame with one car that is tracked."""
    frame = Frame(np.zeros((image_wh[1], image_wh[0], 3), np.uint8), camera.name, 0, 0.0)
    box = np.array([[10.0, 10, 30, 30]])
    found = FrameDetections(frame, box, np.array([0.9]), np.array([0]), NAMES, np.array([1]))
    return DetectedEvent(SourceEvent(camera, frame), found, None, {})


def test_yolo_lists_all_classes_of_the_weights_whatever_was_asked_for(tmp_path):
    """A label's class is its line in the list."""
    weights = write_onnx(tmp_path / "drawn.onnx")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((80, 120, 3), 99, np.uint8))
    asked = {"source": (str(tmp_path / "a.png"),), "weights": weights, "save": ("yolo",)}
    for name, classes in (("all", ()), ("one", ("class 1",))):
        out = tmp_path / name
        detect(DetectOptions(**asked, device="cpu", conf=0.5, classes=classes, out=out))
        listed = (out / "yolo/classes.txt").read_text().splitlines()
        assert listed == ["class 0", "class 1", "class 2"]
    rows = (tmp_path / "one/yolo/labels/a.txt").read_text().splitlines()
    assert {row[0] for row in rows} == {"1"}
