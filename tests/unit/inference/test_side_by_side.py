"""Images that workers look at side by side give the boxes that each gives alone, in their order."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save

from yolo_ema.detect.detector import Detector
from yolo_ema.engine.prediction.runtime import Runtime
from yolo_ema.inference.tiled import TiledRuntime
from yolo_ema.inference.worker_pool import SideBySide
from yolo_ema.media.frames import Frame
from yolo_ema.media.sources.source import FeedEvent

PICTURES = [picture(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("side-by-side")
    weights = save(lively_model("tiny"), folder / "tiny.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch on a shape
        exported = {
            kind: YOLO(weights).export(format=kind, imgsz=(192, 320), verbose=False)
            for kind in ("onnx", "openvino")
        }
    return {"pt": weights, **exported}


@pytest.fixture
def three_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("YOLO_EMA_THREADS", "3")
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("kind", "tolerance"), [("pt", 0), ("onnx", 0), ("openvino", 1e-3)])
def test_together_as_alone(files, kind, tolerance, three_threads):
    """To the bit; OpenVINO's sums depend in their last digits on how many threads make them."""
    runtime = Runtime(files[kind], device="cpu", conf=0.1)
    alone = [runtime([image])[0] for image in PICTURES]
    assert runtime.at_once == 3
    together = runtime(PICTURES)
    assert sum(map(len, alone)) > 50
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    assert set(runtime.seconds) == {"preprocess", "inference", "postprocess"}


def test_images_of_unequal_size_share_the_full_input_as_they_do_one_by_one(
    files, three_threads, monkeypatch
):
    mixed = [picture(1), picture(2, (192, 320)), picture(3, (300, 300))]
    runtime = Runtime(files["pt"], device="cpu", conf=0.1)
    together = runtime(mixed)
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    in_turn = Runtime(files["pt"], device="cpu", conf=0.1)
    assert in_turn.at_once == 1
    for one, other in zip(together, in_turn(mixed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tiles_side_by_side_are_tiles_in_turn(files, three_threads, monkeypatch):
    large = np.concatenate(
        [np.concatenate(PICTURES[:2], axis=1), np.concatenate(PICTURES[2:4], axis=1)]
    )
    found = TiledRuntime(Runtime(files["pt"], device="cpu", conf=0.1), tile=(192, 192))([large])[0]
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    in_turn = TiledRuntime(Runtime(files["pt"], device="cpu", conf=0.1), tile=(192, 192))([large])[
        0
    ]
    assert len(found) > 50
    np.testing.assert_array_equal(found, in_turn)


def test_a_large_input_goes_alone(files, three_threads):
    assert Runtime(files["pt"], device="cpu", imgsz=1536).at_once == 1


def test_torch_keeps_its_threads_here_and_in_threads_to_come(files, three_threads):
    runtime = Runtime(files["pt"], device="cpu")
    runtime(PICTURES)
    seen = [torch.get_num_threads()]
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [3, 3]


def test_workers_share_the_threads():
    assert [(pool.workers, pool.threads_each) for pool in map(SideBySide, (2, 3, 8, 16))] == [
        (2, 1),
        (3, 1),
        (8, 1),
        (8, 2),
    ]


def test_an_error_in_one_image_is_raised(three_threads):
    def fail_at_two(number):
        if number == 2:
            raise ValueError("two")
        return number

    pool = SideBySide(2)
    with pytest.raises(ValueError, match="two"):
        pool.map(fail_at_two, range(4))
    assert pool.map(fail_at_two, [5, 6, 7]) == [5, 6, 7]


class Place:
    """What `FeedEvent` needs of a source."""

    def __init__(self, *, is_live):
        self.is_live, self.name, self.is_video = is_live, "place", True


def events_of(sizes, *, is_live):
    """Frames of these widths and heights; None is a notice without a frame."""
    source = Place(is_live=is_live)
    return [
        FeedEvent(source, None if wh is None else Frame(picture(index, wh), "place", index, 0.0))
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
def test_stored_frames_of_one_size_are_looked_at_together_in_their_order(
    files, three_threads, sizes, is_live, calls
):
    detector = Detector(files["pt"], tile="off", device="cpu", conf=0.1)
    seen, look = [], detector.detect_frames
    detector.detect_frames = lambda frames: seen.append(len(frames)) or look(frames)
    events = events_of(sizes, is_live=is_live)
    announced = []
    found = list(detector.detect_events(events, before=announced.append))
    assert [size for size in seen if size] == calls
    assert [event for event, _ in found] == events
    assert announced == [event for event in events if event.frame is not None]
    for event, one in found:
        assert (one is None) == (event.frame is None)
        if one is not None:
            np.testing.assert_array_equal(
                one.boxes_xyxy, detector.runtime([event.frame.image_bgr])[0][:, :4]
            )
