"""``yolo-ema export`` as a user calls it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.engine.runtime import Runtime


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    save(lively_model("tiny"), place / "tiny.pt")
    cv2.imwrite(str(place / "0.png"), picture(0))
    return place


def test_export_writes_beside_the_weights_and_prints_json_alone(folder, yolo_ema_command):
    done = yolo_ema_command(
        *("export", "--weights", "tiny.pt", "--imgsz", "192,320", "--images", "0.png", "--json", "simplify=false"), cwd=folder
    )
    assert done.code == 0, done.err
    found = done.json["files"][0]
    assert found["path"] == "tiny.onnx"
    assert found["imgsz_hw"] == [192, 320]
    assert found["check"]["boxes"] > 0
    assert (folder / "tiny.onnx").is_file()


def test_export_checks_on_drawn_scenes_by_default(folder, yolo_ema_command):
    done = yolo_ema_command("export", "--weights", "tiny.pt", "--out", "scenes/", "--conf", "0.05", cwd=folder)
    assert done.code == 0, done.err
    assert "checked on 3 images" in done.out
    assert (folder / "scenes/tiny.onnx").is_file()


def test_unknown_format_names_the_choices(folder, yolo_ema_command):
    done = yolo_ema_command("export", "--weights", "tiny.pt", "--format", "onyx", cwd=folder)
    assert done.code == 2
    assert "'onyx'" in done.err
    assert "onnx" in done.err


def test_missing_weights_are_named(folder, yolo_ema_command):
    done = yolo_ema_command("export", "--weights", "tinny.pt", cwd=folder)
    assert (done.code, done.out) == (4, "")
    assert "did you mean 'tiny.pt'" in done.err


@pytest.mark.realdata
@pytest.mark.slow
def test_same_boxes_from_onnx_as_from_the_weights_on_real_images(shared, tmp_path, yolo_ema_command):
    weights = shared / "weights" / "yolo11n_coco_from_int8.pt"
    images = shared / "data/visdrone-sample/VisDrone2019-DET-val/images"
    done = yolo_ema_command("export", "--weights", weights, "--out", tmp_path, "--images", images, "--json")
    assert done.code == 0, done.err
    check = done.json["files"][0]["check"]
    assert check["boxes"] > 100
    assert check["largest_box_difference_px"] < 0.05
    assert check["largest_score_difference"] < 1e-3
    same = {"device": "cpu", "rectangular": False, "imgsz": 640}
    ours, theirs = Runtime(weights, **same), Runtime(tmp_path / f"{weights.stem}.onnx", **same)
    for path in sorted(images.glob("*.jpg"))[:3]:
        image = cv2.imread(str(path))
        one, other = ours([image])[0], theirs([image])[0]
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(other, one, rtol=0, atol=0.05)
