"""The loop over frames: which go through the network together, and how many calls it takes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save

import yolo_ema
from yolo_ema.detect.detector import Detector
from yolo_ema.detect.run import detect
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.options.detect import DetectOptions

PACKAGE = str(Path(yolo_ema.__file__).parent)
MOST_CALLS = 6


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture
def three_threads(monkeypatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setenv("YOLO_EMA_THREADS", "3")
    yield
    torch.set_num_threads(before)


class Place:
    """What `SourceEvent` needs of a source."""

    def __init__(self, *, is_live: bool) -> None:
        self.is_live, self.name, self.is_video = is_live, "place", True


def events_of(sizes, *, is_live: bool) -> list[SourceEvent]:
    """Frames of these widths and heights; None is a notice without a frame."""
    source = Place(is_live=is_live)
    return [
        SourceEvent(source, None if wh is None else Frame(picture(index, wh), "place", index, 0.0))
        for index, wh in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "is_live", "calls"),
    [
        ([(320, 192)] * 7, False, [3, 3, 1]),
        ([(320, 192)] * 2 + [None] + [(320, 192)] * 2, False, [2, 2]),
        ([(320, 192), (320, 192), (192, 320), (320, 192)], False, [2, 1, 1]),
        ([(320, 192)] * 3, True, [1, 1, 1]),
    ],
)
def test_stored_frames_of_one_size_go_together_in_their_order(
    weights, three_threads, sizes, is_live, calls
):
    detector = Detector(weights, tile="off", device="cpu", conf=0.1)
    network, numbers = detector.predictor, []

    class Counted:
        def __getattr__(self, name: str) -> object:
            return getattr(network, name)

        def __call__(self, images) -> list[np.ndarray]:
            numbers.append(len(images))
            return network(images)

    detector.predictor = Counted()
    events = events_of(sizes, is_live=is_live)
    found = list(detector.detect_events(events))
    assert numbers == calls
    assert [one.event for one in found] == events
    for event, detections, *_ in found:
        assert (detections is None) == (event.frame is None)
        if detections is not None:
            np.testing.assert_array_equal(
                detections.boxes_xyxy, network([event.frame.image_bgr])[0][:, :4]
            )


def calls_between(outer: str, inner: str, run) -> list[list[str]]:
    """Run something, and return for each time that ``inner`` is entered the functions of this
    project on the stack from ``outer`` to it, both included.
    """
    ways: list[list[str]] = []

    def note(frame, event: str, _argument: object) -> None:
        if event != "call" or frame.f_code.co_qualname != inner:
            return
        way = []
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                way.append(frame.f_code.co_qualname)
            frame = frame.f_back
        if outer in way:
            ways.append(way[way.index(outer) :: -1])

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return ways


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified names yet")
@pytest.mark.parametrize(
    ("kind", "tile"), [("pt", "off"), ("pt", "160x128"), ("onnx", "off"), ("onnx", "160x128")]
)
def test_few_calls_are_between_the_verb_and_the_network(weights, tmp_path, monkeypatch, kind, tile):
    """Each is a place that a reader has to visit; there were twelve."""
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    network = "TorchBackend.__call__"
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        from ultralytics import YOLO

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every branch on a shape
            weights = YOLO(weights).export(format="onnx", imgsz=(192, 320), verbose=False)
        network = "OnnxBackend.forward"
    assert cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    options = DetectOptions(
        source=(str(tmp_path / "a.png"),), weights=weights, tile=tile, save=("none",), device="cpu"
    )
    ways = calls_between("detect", network, lambda: detect(options))
    assert len(ways) == 1 or (tile != "off" and len(ways) > 4)
    for way in ways:
        assert way[0] == "detect"
        assert way[-1] == network
        assert len(way) - 1 <= MOST_CALLS, " -> ".join(way)
