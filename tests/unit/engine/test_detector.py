"""What the detector makes of class names."""

from __future__ import annotations

import numpy as np
from lively_weights import lively_model, picture, save

from yolo_ema.engine.detector import Detector


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
