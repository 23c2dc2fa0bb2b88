"""``yolo-ema export`` as a user calls it, and what the other verbs do with its files. Its proof:
test_gate_cli.py.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.engine.prediction.torch_predictor import open_predictor

pytest.importorskip("onnxruntime")
pytest.importorskip("ncnn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    save(lively_model("tiny"), place / "tiny.pt")
    for seed in range(2):
        (place / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(place / f"pictures/{seed}.png"), picture(seed))
    return place


@pytest.mark.slow
def test_files_with_a_rectangular_size_are_written_and_detect_in_tiles_and_tracked(
    folder, yolo_ema_command
):
    done = yolo_ema_command(
        *(
            "export",
            "--weights",
            "tiny.pt",
            "--imgsz",
            "90,128",
            "--format",
            "onnx,ncnn",
            "--no-prove",
            "--json",
        ),
        cwd=folder,
    )
    assert done.code == 0, done.err
    assert done.err.count("--imgsz 90,128 is rounded up to 96,128") == 1
    assert "pnnx" not in done.err
    files = done.json["files"]
    assert [file["path"] for file in files] == ["tiny-unproven.onnx", "tiny-unproven_ncnn_model"]
    assert all(
        (folder / file["path"]).exists() and file["imgsz_hw"] == [96, 128] and file["bytes"] > 0
        for file in files
    )
    found = {}
    for weights in ("tiny-unproven.onnx", "tiny-unproven_ncnn_model"):
        done = yolo_ema_command(
            *(
                "detect",
                "pictures",
                "--weights",
                weights,
                "--tile",
                "128x96",
                "--track",
                "--conf",
                "0.5",
                "--save",
                "jsonl",
            ),
            *("--out", weights + "-out", "--json"),
            cwd=folder,
        )
        assert done.code == 0, done.err
        lines = [
            json.loads(line)
            for line in (folder / (weights + "-out") / "detections.jsonl").read_text().splitlines()
        ]
        found[weights] = lines
        assert len(lines) == 2
    for here, there in zip(*found.values(), strict=True):
        boxes = [
            np.array([row["box_xyxy"] for row in side["detections"]]) for side in (here, there)
        ]
        assert len(boxes[0]) == len(boxes[1]) > 10
        np.testing.assert_allclose(boxes[0].sum(0), boxes[1].sum(0), rtol=1e-3)
        assert all("track_id" in row for row in here["detections"])


def test_unknown_format_names_the_choices(folder, yolo_ema_command):
    done = yolo_ema_command("export", "--weights", "tiny.pt", "--format", "onyx", cwd=folder)
    assert done.code == 2
    assert "'onyx'" in done.err
    assert "did you mean 'onnx'" in done.err


def test_missing_weights_are_named(folder, yolo_ema_command):
    done = yolo_ema_command("export", "--weights", "tinny.pt", cwd=folder)
    assert (done.code, done.out) == (4, "")
    assert "did you mean 'tiny.pt'" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--format", "ncnn", "--dynamic"), 2, "its files take one size"),
        (("--format", "engine"), 6, "--device 0"),
        (("--format", "hailo"), 2, "--quantize int8"),
        (("--quantize", "int8"), 2, "--data or --calibrate"),
    ],
)
def test_an_unavailable_export_is_one_clear_line_and_leaves_nothing(
    folder, yolo_ema_command, words, code, says
):
    before = sorted(folder.iterdir())
    done = yolo_ema_command("export", "--weights", "tiny.pt", *words, cwd=folder)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.realdata
@pytest.mark.slow
def test_same_boxes_from_onnx_as_from_the_weights_on_real_images(
    shared, tmp_path, yolo_ema_command
):
    weights = shared / "weights" / "yolo11n_coco_from_int8.pt"
    images = shared / "data/visdrone-sample/VisDrone2019-DET-val/images"
    done = yolo_ema_command(
        "export", "--weights", weights, "--out", tmp_path, "--no-prove", "--json"
    )
    assert done.code == 0, done.err
    same = {"device": "cpu", "rectangular": False, "imgsz": 640}
    ours, theirs = (
        open_predictor(weights, **same),
        open_predictor(tmp_path / f"{weights.stem}-unproven.onnx", **same),
    )
    for path in sorted(images.glob("*.jpg"))[:3]:
        image = cv2.imread(str(path))
        one, other = ours([image])[0], theirs([image])[0]
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(other, one, rtol=0, atol=0.05)
