"""Cameras, with OpenCV's capture replaced: the machines that run tests have none."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from yolo_ema.media.sources import camera_source
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceReader

QUICK = NetworkOptions(open_timeout_s=0.5, read_timeout_s=0.5, first_wait_s=0.05)


class FakeCapture:
    """Gives ``images`` images, then nothing; hangs for ``hang_s`` before each."""

    opens, images, hang_s, rate = True, 1_000_000, 0.0, 30.0
    asked: ClassVar[list[tuple]] = []
    released = 0

    def __init__(self, *which: object) -> None:
        type(self).asked.append(which)
        self._left = self.images

    def isOpened(self) -> bool:
        return self.opens

    def get(self, _: int) -> float:
        return self.rate

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(self.hang_s or 0.01)
        self._left -= 1
        return (
            self._left >= 0,
            np.full((24, 32, 3), self._left % 256, np.uint8) if self._left >= 0 else None,
        )

    def release(self) -> None:
        type(self).released += 1


@pytest.fixture
def devices(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(camera_source, "_DEVICES", tmp_path)
    return tmp_path


@pytest.fixture
def capture(devices, monkeypatch) -> type[FakeCapture]:
    (devices / "video0").touch()

    class Capture(FakeCapture):
        asked: ClassVar[list[tuple]] = []

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    return Capture


def test_a_number_is_a_camera_and_a_path_with_a_number_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = open_sources(["0", "00"])
    assert [(one.name, one.stem, one.is_live, one.is_video) for one in source] == [
        ("camera 0", "camera-0", True, True)
    ]
    assert isinstance(open_sources(["/dev/null"])[0], camera_source.CameraSource), (
        "any character device, such as /dev/video0"
    )


def test_frames_arrive_and_the_camera_is_released(capture):
    with SourceReader(open_sources(["0"], network=QUICK)) as reader:
        event = next(event for event in reader if event.frame is not None)
        assert event.reader.frame_rate == Fraction(30)
        assert event.frame.source == "camera 0"
    assert capture.asked[0][0] == 0
    assert capture.released == 1


def test_a_missing_camera_is_named_with_those_present(devices):
    with SourceReader(open_sources(["3"], network=QUICK)) as reader:
        events = list(reader)
    assert len(events) == 1
    assert "there is no camera here" in events[0].problem
    (devices / "video1").touch()
    with SourceReader(open_sources(["3"], network=QUICK)) as reader:
        assert "camera 3 is not there" in (problem := next(iter(reader)).problem)
    assert "cameras here: 1" in problem


def test_a_camera_without_permission_says_what_to_do(devices, monkeypatch):
    (devices / "video0").touch()
    monkeypatch.setattr(camera_source.os, "access", lambda *_: False)
    with SourceReader(open_sources(["0"], network=QUICK)) as reader:
        assert "add yourself to the group 'video'" in next(iter(reader)).problem


def test_a_camera_in_use_is_abandoned_after_some_attempts(capture):
    capture.opens = False
    with SourceReader(open_sources(["0"], network=QUICK)) as reader:
        events = list(reader)
    assert "in use by another program" in events[-1].problem
    assert events[-1].problem.endswith("given up after 3 attempts")


def test_an_unplugged_camera_is_opened_again(capture):
    capture.images = 5
    with SourceReader(open_sources(["0"], network=QUICK), every_frame=True) as reader:
        told = []
        for event in reader:
            told.append(event.problem)
            if event.frame is not None and event.frame.index == 7:
                break
    assert "camera 0 delivers no image; it may have been unplugged; trying again" in told
    assert any(one.startswith("camera 0 is back after") for one in told)


def test_a_hanging_camera_is_abandoned_and_stopping_does_not_wait_for_it(capture):
    capture.hang_s = 1.5
    with SourceReader(open_sources(["0"], network=QUICK)) as reader:
        assert next(iter(reader)).problem == "camera 0 delivered no frame for 0.5 s; trying again"
        threading.Timer(0.1, reader.stop).start()
        began = time.monotonic()
        assert list(reader)[-1].ended
    assert time.monotonic() - began < 2
