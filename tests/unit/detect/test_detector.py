"""What the detector makes of class names, and of several images."""

from __future__ import annotations

import numpy as np
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.detect.detector import Detector


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


@pytest.mark.parametrize(("threads", "calls"), [("1", [1] * 6), ("3", [3, 1, 1, 1])])
def test_a_list_of_images_gives_what_each_of_them_gives(tmp_path, monkeypatch, threads, calls):
    """Images of one size that follow each other go side by side where there are threads for it."""
    monkeypatch.setenv("YOLO_EMA_THREADS", threads)
    detector = Detector(
        save(lively_model("tiny"), tmp_path / "tiny.pt"), imgsz=320, conf=0.01, tile="off"
    )
    images = [
        picture(seed, wh) for seed, wh in enumerate([(320, 192)] * 4 + [(64, 64)] + [(320, 192)])
    ]
    numbers = []
    look = detector.detect_frames
    monkeypatch.setattr(
        detector, "detect_frames", lambda frames: numbers.append(len(frames)) or look(frames)
    )
    together = detector.detect(images)
    assert numbers == calls
    assert len(together) == len(images)
    for found, image in zip(together, images, strict=True):
        assert found.orig_img is image
        np.testing.assert_array_equal(found.boxes.data, detector.detect(image).boxes.data)
    assert sum(len(found) for found in together) > 0
    assert detector.detect([]) == []
