"""What the detector takes from Python code, and what it does with it."""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import pickle
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save

from yolo_ema.detect.detector import Detector
from yolo_ema.errors import ConfigError, PartialResultsError, SourceError
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.media.frames import FrameDetections
from yolo_ema.options.detector import DetectorConfig

FRAMES = [picture(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture
def detector(weights) -> Detector:
    return Detector(weights, imgsz=320, conf=0.01, tile="off", device="cpu")


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many images each call of the network has, from now on."""
    numbers: list[int] = []
    call = TiledPredictor.__call__

    def counted(self, images_bgr, **more):
        numbers.append(len(images_bgr))
        return call(self, images_bgr, **more)

    monkeypatch.setattr(TiledPredictor, "__call__", counted)
    return numbers


def test_a_name_that_several_classes_have_means_all_of_them(tmp_path):
    model = lively_model("tiny", classes=4)
    model.names = {0: "car", 1: "bus", 2: "car", 3: "van"}
    weights = save(model, tmp_path / "twice.pt")
    image = picture(0)
    everything = Detector(weights, imgsz=320, conf=0.01, max_det=100_000).detect(image).boxes
    cars = Detector(weights, imgsz=320, conf=0.01, max_det=100_000, classes=("car", "car"))
    assert cars.wanted_names == {0: "car", 2: "car"}
    found = cars.detect(image).boxes.cls.numpy()
    assert {0, 2} == set(np.unique(found))
    assert len(found) == int(np.isin(everything.cls.numpy(), (0, 2)).sum())


def test_frames_go_whole_through_twice_the_weights_input_by_default(weights):
    frame = picture(1, (960, 540))
    detector = Detector(weights, conf=0.1, device="cpu")
    assert detector.plan((960, 540)).startswith(
        "the whole frame at a larger input of 640x640, shrunk 1.5 times: 960x540 pixels would be "
        "shrunk 3.0 times to fit into the network's input of 320x320"
    )
    assert "tiles" in detector.plan((3840, 2160))
    asked = Detector(weights, conf=0.1, device="cpu", imgsz=320)
    assert asked.plan((960, 540)).endswith("the size asked for")
    larger = Detector(weights, conf=0.1, device="cpu", imgsz=640, tile="off")
    wanted = larger.detections(frame)
    assert len(wanted.scores) > 5
    for found in (detector.detections(frame), next(detector.stream_detections([frame]))):
        np.testing.assert_array_equal(found.boxes_xyxy, wanted.boxes_xyxy)
        np.testing.assert_array_equal(found.scores, wanted.scores)


@pytest.mark.parametrize(("threads", "expected"), [("1", [1] * 6), ("3", [3, 1, 1, 1])])
def test_a_list_of_images_gives_what_each_of_them_gives(
    weights, monkeypatch, calls, threads, expected
):
    """Consecutive images of one size go in parallel where there are threads for it."""
    monkeypatch.setenv("YOLO_EMA_THREADS", threads)
    detector = Detector(weights, imgsz=320, conf=0.01, tile="off")
    images = [
        picture(seed, wh) for seed, wh in enumerate([(320, 192)] * 4 + [(64, 64)] + [(320, 192)])
    ]
    together = detector.detect(images)
    assert calls == expected
    assert len(together) == len(images)
    for found, image in zip(together, images, strict=True):
        assert found.orig_img is image
        np.testing.assert_array_equal(found.boxes.data, detector.detect(image).boxes.data)
    assert sum(len(found) for found in together) > 0
    assert detector.detect([]) == []


def test_arrays_are_what_results_are(detector, tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), FRAMES[0])
    results, found = detector.detect(path), detector.detections(path)
    assert isinstance(found, FrameDetections)
    assert len(found) > 0
    np.testing.assert_array_equal(found.boxes_xyxy, results.boxes.xyxy)
    np.testing.assert_array_equal(found.scores, results.boxes.conf)
    np.testing.assert_array_equal(found.class_ids, results.boxes.cls)
    assert found.frame.source == results.path == str(path)
    assert set(results.speed) == {"preprocess", "inference", "postprocess"}
    assert [len(one) for one in detector.detections([path, FRAMES[1]])] == [
        len(found),
        len(detector.detections(FRAMES[1])),
    ]
    streamed = list(detector.stream_detections([path]))
    np.testing.assert_array_equal(streamed[0].boxes_xyxy, found.boxes_xyxy)


class TestLaterSettings:
    @pytest.mark.parametrize("tile", ["off", "64x64"])
    @pytest.mark.parametrize(
        ("name", "value"), [("conf", 0.5), ("iou", 0.2), ("max_det", 3), ("classes", ["class 3"])]
    )
    def test_a_changed_setting_applies_from_the_next_frame_on(self, weights, tile, name, value):
        common = {"imgsz": 320, "conf": 0.05, "tile": tile, "device": "cpu"}
        changed = Detector(weights, **common)
        before = changed.detections(FRAMES[0])
        setattr(changed, name, value)
        fresh = Detector(weights, **common | {name: value})
        after, wanted = changed.detections(FRAMES[0]), fresh.detections(FRAMES[0])
        assert 0 < len(after) < len(before)
        np.testing.assert_array_equal(after.boxes_xyxy, wanted.boxes_xyxy)
        np.testing.assert_array_equal(after.class_ids, wanted.class_ids)
        assert changed.wanted_names == fresh.wanted_names

    def test_a_wrong_one_is_refused_and_changes_nothing(self, detector):
        before = detector.config
        for name, value in {"conf": 25, "iou": "0.5", "max_det": 0, "classes": ("car",)}.items():
            with pytest.raises(ConfigError):
                setattr(detector, name, value)
        assert detector.config is before
        assert (detector.conf, detector.iou, detector.max_det) == (0.01, 0.7, 1000)


class TestFramesAsArrays:
    @pytest.mark.parametrize(
        "make", [list, tuple, np.stack, iter, lambda frames: (f for f in frames)]
    )
    def test_are_one_source(self, detector, make):
        found = list(detector.stream(make(FRAMES)))
        assert len(found) == 3
        for one, image in zip(found, FRAMES, strict=True):
            np.testing.assert_array_equal(one.boxes.data, detector.detect(image).boxes.data)
            assert one.path == "array"

    def test_a_single_array_is_one_frame(self, detector):
        assert [one.frame.index for one in detector.stream_detections(FRAMES[0])] == [0]

    def test_are_tracked_at_their_rate(self, weights):
        tracker = Detector(weights, imgsz=320, conf=0.3, max_det=5, tile="off", track=True)
        found = list(tracker.stream_detections([FRAMES[0]] * 4, fps=8))
        assert [one.frame.time_s for one in found] == [0, 0.125, 0.25, 0.375]
        assert set(found[0].track_ids) == set(found[3].track_ids) == set(range(1, 6))

    @pytest.mark.parametrize("fps", [0, -10, math.inf, math.nan])
    def test_have_a_rate(self, detector, fps):
        with pytest.raises(ConfigError, match="expected frames per second above 0"):
            list(detector.stream_detections(FRAMES, fps=fps))

    def test_a_generator_is_run_in_this_thread_a_frame_at_a_time(self, weights, monkeypatch, calls):
        """As the caller's own camera needs it; a list may go in parallel."""
        monkeypatch.setenv("YOLO_EMA_THREADS", "3")
        detector = Detector(weights, imgsz=320, conf=0.01, tile="off", device="cpu")
        taken = []

        def frames():
            for index, frame in enumerate(FRAMES):
                taken.append(index)
                yield frame

        for index, _ in enumerate(detector.stream_detections(frames())):
            assert taken == list(range(index + 1))
        assert calls == [1, 1, 1]
        list(detector.stream_detections(FRAMES))
        assert calls == [1, 1, 1, 3]

    def test_an_error_of_the_generator_is_the_callers_own(self, detector):
        def frames():
            yield FRAMES[0]
            raise ZeroDivisionError("of the caller")

        with pytest.raises(ZeroDivisionError, match="of the caller"):
            list(detector.stream(frames()))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([FRAMES[0], "a.mp4"], "frame 1 is a str; expected an array"),
            (["a.mp4", FRAMES[0]], "a ndarray is among the sources"),
            ([None], "a NoneType is among the sources"),
            (None, "a NoneType is given; expected paths, addresses"),
            (b"a.mp4", "a bytes is given; expected paths, addresses"),
            ([FRAMES[0][..., 0]], r"an array of shape \(192, 320\)"),
            (iter([FRAMES[0].astype(float)]), "type float64"),
            ([torch.zeros(4, 4, 3, dtype=torch.uint8)], "a Tensor is among the sources"),
        ],
    )
    def test_anything_but_frames_and_sources_is_refused(self, detector, given, message):
        with pytest.raises(SourceError, match=message):
            list(detector.stream(given))


def test_an_image_that_fails_does_not_affect_the_others(detector, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    assert cv2.imwrite(str(good), FRAMES[0])
    bad.write_bytes(b"no image" * 9)
    for method in (detector.detect, detector.detections):
        with pytest.raises(PartialResultsError) as raised:
            method([good, tmp_path / "missing.png", FRAMES[1], bad, good])
        error = raised.value
        assert str(error).startswith("2 of 5 images failed: image 1: no file or folder at ")
        assert "image 3: " in str(error)
        assert [result is None for result in error.results] == [False, True, False, True, False]
        assert len(error.results[0]) == len(method(FRAMES[0]))
        assert len(error.results[2]) == len(method(FRAMES[1]))


class TestConfig:
    def test_every_setting_can_be_given_by_name_or_whole(self, weights):
        config = DetectorConfig(weights=weights, imgsz=320, conf=0.3, tile="64x64", device="cpu")
        whole, named = (
            Detector(config=config),
            Detector(weights, imgsz=320, conf=0.3, tile=(64, 64), device="cpu"),
        )
        assert whole.config == named.config
        assert Detector(config=config, conf=0.4).config == replace(config, conf=0.4)

    def test_one_text_is_several_classes_and_one_group(self, weights):
        config = DetectorConfig(weights=weights, classes="car, bus", nms_groups="car,van")
        assert (config.classes, config.nms_groups) == (("car", "bus"), ("car,van",))

    @pytest.mark.parametrize(
        "settings",
        [
            {"imgsz": 320.0},
            {"imgsz": np.int64(320)},
            {"imgsz": [320, 320]},
            {"imgsz": (320,), "device": "cpu", "overlap": np.float32(0.2)},
            {"imgsz": 320, "conf": np.float32(0.25), "max_det": 1000.0, "classes": []},
            {"imgsz": 320, "conf": 0.25, "tile": ["64", "64"]},
        ],
    )
    def test_numbers_may_be_of_any_kind(self, weights, settings):
        detector = Detector(weights, **settings)
        assert detector.predictor.imgsz_hw == (320, 320)
        assert len(detector.detections(FRAMES[0]))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"conf": "0.5"}, "--conf is '0.5'; expected a number"),
            ({"conf": True}, "--conf is True; expected a number"),
            ({"conf": float("nan")}, "--conf is nan; expected 0 to 1"),
            ({"imgsz": 640.5}, "--imgsz is 640.5; expected one whole number of pixels"),
            ({"imgsz": "640"}, "--imgsz is '640'; expected one whole number of pixels"),
            ({"imgsz": (640, None)}, r"--imgsz is \(640, None\); expected one whole number"),
            ({"imgsz": (1, 2, 3)}, "--imgsz is 1,2,3; expected one number or height,width"),
            ({"max_det": 1.5}, "--max-det is 1.5; expected a whole number"),
            ({"max_pixels": None}, "--max-pixels is None; expected a whole number"),
            ({"classes": 3}, "--classes is 3; expected a list of texts"),
            ({"end": "5"}, "--end is '5'; expected a number"),
            ({"augment": "no"}, "--augment is 'no'; expected True or False"),
            ({"whole_frame": []}, r"--whole-frame is \[\]; expected True or False"),
            ({"nms_groups": [["car", "van"]]}, "--nms-groups is .*; expected a list of texts"),
            ({"nms_groups": ["car"]}, "--nms-groups is 'car'; expected two classes or more"),
            ({"tracker": "bytetrak"}, "did you mean 'bytetrack'"),
        ],
    )
    def test_others_are_refused_before_the_weights_are_opened(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            Detector("missing.pt", **settings)


def test_a_pickled_detector_reopens_its_weights(weights):
    detector = Detector(weights, imgsz=320, conf=0.5, tile="64x64", device="cpu")
    detector.conf, detector.classes = 0.02, ("class 1", "class 3")
    wanted = detector.detections(FRAMES[0])
    assert len(wanted)
    for again in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        assert again.config == detector.config
        np.testing.assert_array_equal(again.detections(FRAMES[0]).boxes_xyxy, wanted.boxes_xyxy)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestFork:
    """A forked child lacks the threads that its parent computed with: it would wait forever."""

    def test_a_forked_child_gets_an_error_instead_of_a_hang(self, weights, monkeypatch):
        monkeypatch.setenv("YOLO_EMA_THREADS", "2")
        detector = Detector(weights, imgsz=320, tile="off", device="cpu")
        detector.detections(FRAMES[0])
        for said in in_a_fork(
            lambda: detector.detect(FRAMES[0]),
            lambda: next(detector.stream([FRAMES[0]])),
            lambda: Detector(weights),
        ):
            assert said.startswith("MachineError"), said
            assert "do not survive a fork" in said

    def test_one_thread_survives(self, weights, monkeypatch, one_thread):
        monkeypatch.setenv("YOLO_EMA_THREADS", "1")
        detector = Detector(weights, imgsz=320, conf=0.01, tile="off", device="cpu")
        wanted = str(len(detector.detections(FRAMES[0])))
        assert in_a_fork(
            lambda: len(detector.detections(FRAMES[0])),
            lambda: len(replaced(detector).detections(FRAMES[0])),
        ) == [wanted, wanted]


def replaced(detector: Detector) -> Detector:
    return pickle.loads(pickle.dumps(detector))


def in_a_fork(*functions) -> list[str]:
    """Return what each function gives or raises in a forked child of this process, as text."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        for function in functions:
            try:
                sending.send(str(function()))
            except BaseException as error:
                sending.send(f"{type(error).__name__}: {error}")
        os._exit(0)
    said = []
    try:
        for _ in functions:
            assert receiving.poll(60), "the child hangs"
            said.append(receiving.recv())
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    return said
