"""``yolo-ema val`` with real weights files, as a user runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lively_weights import lively_model, save
from ultralytics import YOLO

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.setup.environment import log_to_stderr
from yolo_ema.evaluate.validation import validate
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.options.val import ValOptions
from yolo_ema.visdrone.annotations import read_annotations

CAR_LIKE = {4: 2, 5: 2, 6: 7, 9: 5, 1: 0, 2: 0, 10: 3, 3: 1}  # VisDrone's category: COCO's class


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A checkpoint of random weights whose class scores lie high enough to be reported."""
    torch.manual_seed(0)
    model = build_model("yolo11n-ema", class_count=10)
    model.names = dict(enumerate(VISDRONE_CLASSES))
    for branch in model.model[-1].cv3:
        torch.nn.init.normal_(branch[-1].weight, std=0.5)
    path = tmp_path_factory.mktemp("run") / "weights" / "best.pt"
    path.parent.mkdir()
    torch.save({"model": model.half(), "train_args": {"imgsz": 96}}, path)
    (path.parents[1] / "run.json").write_text(
        '{"command": "yolo-ema train --seed 7", "status": "finished", "epochs": []}'
    )
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four noisy images in a prepared dataset's layout, with annotations of VisDrone and one
    ignored region.
    """
    root = tmp_path_factory.mktemp("data") / "mini"
    rng = np.random.default_rng(0)
    for folder in ("images", "labels", "annotations"):
        (root / folder / "val").mkdir(parents=True)
    for name in "abcd":
        cv2.imwrite(
            str(root / "images/val" / f"{name}.jpg"),
            rng.integers(0, 255, (90, 120, 3), dtype=np.uint8),
        )
        (root / "annotations/val" / f"{name}.txt").write_text(
            "10,10,30,30,1,4,0,0\n60,20,20,20,1,1,0,0\n80,50,30,30,0,0,0,0\n"
        )
        (root / "labels/val" / f"{name}.txt").write_text(
            "3 0.2 0.28 0.25 0.33\n0 0.58 0.33 0.17 0.22\n"
        )
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(VISDRONE_CLASSES))
    (root / "mini.yaml").write_text(
        f"path: {root}\ntrain: images/val\nval: images/val\nnames:\n{names}"
    )
    return root


@pytest.mark.slow
def test_figures_results_and_report_in_one_run(weights, data, tmp_path, yolo_ema_command):
    done = yolo_ema_command(
        "val",
        "--weights",
        weights,
        "--data",
        data,
        "--save-results",
        "results",
        "--report",
        "report",
        "--conf",
        "0.0001",
        "--device",
        "cpu",
        "--json",
    )
    assert done.code == 0, done.err
    found = done.json
    assert found["protocol"]["ground_truth"] == {"annotations": 4}
    assert found["protocol"]["imgsz"] == [96, 96]
    assert found["weights"]["format"] == "pt"
    assert set(found["seconds_per_image"]) == {"preprocess", "inference", "postprocess"}
    assert found["protocol"]["detections"] > 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "yolo-ema train --seed 7" in page
    again = yolo_ema_command(
        "score",
        "--annotations",
        data / "annotations/val",
        "--results",
        "results",
        "--images",
        data / "images/val",
        "--json",
    )
    assert again.code == 0, again.err
    for part in ("official", "official_macro", "coco"):
        assert again.json[part] == found[part]


@pytest.mark.slow
def test_images_that_cannot_be_scored_are_left_out_and_reported(
    weights, data, tmp_path, yolo_ema_command
):
    mine = shutil.copytree(data, tmp_path / "mine")
    (mine / "mini.yaml").write_text((mine / "mini.yaml").read_text().replace(str(data), str(mine)))
    (mine / "images/val/b.jpg").write_bytes((mine / "images/val/b.jpg").read_bytes()[:200])
    (mine / "annotations/val/c.txt").write_text("no row\n")
    words = ("val", "--weights", weights, "--data", mine, "--device", "cpu")
    done = yolo_ema_command(*words, "--report", "report", "--json")
    assert done.code == 0, done.err
    assert [Path(one["image"]).name for one in done.json["images_left_out"]] == ["b.jpg", "c.jpg"]
    assert done.json["left_out"] == {"images": 2, "ground-truth rows": 0}
    assert "2 of 4 images cannot be scored and are left out" in done.err
    assert (tmp_path / "report/report.html").is_file()
    assert "left out: 2 images, see the warnings" in yolo_ema_command(*words).out
    strict = yolo_ema_command(*words, "--strict")
    assert strict.code == 5
    assert "b.jpg" in strict.err


@pytest.mark.slow
def test_tiles_are_scored_as_they_are_detected(weights, data, tmp_path, yolo_ema_command):
    words = (
        "val",
        "--weights",
        weights,
        "--data",
        data,
        "--device",
        "cpu",
        "--conf",
        "0.0001",
        "--imgsz",
        "64",
        "--json",
    )
    whole, tiles, alone = (
        yolo_ema_command(*words, *more, "--save-results", f"results-{number}")
        for number, more in enumerate(
            ((), ("--tile", "auto"), ("--tile", "64x32", "--overlap", "0.3", "--no-whole-frame"))
        )
    )
    for done in (whole, tiles, alone):
        assert done.code == 0, done.err
    assert whole.json["protocol"]["tiles"] is None
    assert tiles.json["protocol"]["tiles"] == {
        "tile": "auto",
        "overlap": 0.2,
        "merge": "nms",
        "whole_frame": True,
        "tiles_an_image": 6.0,
        "images_in_tiles": 4,
        "augmented": False,
        "images_at_larger_input": {},
    }
    assert alone.json["protocol"]["tiles"]["tiles_an_image"] == 3 * 4
    runtime = TiledPredictor(
        open_predictor(weights, device="cpu", conf=0.0001, imgsz=64, max_det=500, multi_label=True),
        tile=(64, 32),
        overlap=0.3,
        whole_frame=False,
    )
    picture = cv2.imread(str(data / "images/val/a.jpg"))
    rows = (tmp_path / "results-2" / "a.txt").read_text().splitlines()
    assert len(rows) == len(runtime([picture])[0]) > 0
    again = yolo_ema_command(
        "score",
        "--annotations",
        data / "annotations/val",
        "--results",
        "results-1",
        "--images",
        data / "images/val",
        "--json",
    )
    assert again.json["official"] == tiles.json["official"]
    refused = yolo_ema_command(*words, "--tile", "big")
    assert (refused.code, refused.out) == (2, "")
    assert "expected recommended, auto, off, or width x height" in refused.err


@pytest.mark.slow
def test_auto_scores_whole_images_at_a_larger_input(weights, data, tmp_path, yolo_ema_command):
    """Images of 120x90 pixels, by weights that were trained at 64."""
    small = tmp_path / "small.pt"
    checkpoint = torch.load(weights, weights_only=False)
    torch.save(checkpoint | {"train_args": {"imgsz": 64}}, small)
    words = ("val", "--weights", small, "--data", data, "--device", "cpu", "--conf", "0.0001")
    auto, larger, asked, shown = (
        yolo_ema_command(*words, *more)
        for more in (
            ("--tile", "auto", "--json", "--save-results", "auto"),
            ("--imgsz", "128", "--json", "--save-results", "larger"),
            ("--imgsz", "64", "--tile", "auto", "--json"),
            ("--tile", "auto", "--report", "report"),
        )
    )
    assert auto.code == larger.code == asked.code == shown.code == 0, auto.err
    assert auto.json["official"] == larger.json["official"]
    assert auto.json["coco"] == larger.json["coco"]
    for name in "abcd":
        rows = (tmp_path / "auto" / f"{name}.txt").read_text()
        assert rows == (tmp_path / "larger" / f"{name}.txt").read_text() != ""
    assert auto.json["protocol"]["imgsz"] == [64, 64]
    facts = auto.json["protocol"]["tiles"]
    assert (facts["images_in_tiles"], facts["images_at_larger_input"]) == (0, {"128x128": 4})
    facts = asked.json["protocol"]["tiles"]
    assert (facts["images_in_tiles"], facts["images_at_larger_input"]) == (4, {})
    assert "tiles auto: no image in tiles, 4 whole at 128x128" in shown.out
    assert "· 4 at 128x128" in (tmp_path / "report/report.html").read_text()


@pytest.mark.slow
def test_an_exported_file_scores_as_its_weights_do(data, tmp_path, yolo_ema_command):
    model = lively_model("tiny")
    model.names = dict(enumerate(VISDRONE_CLASSES))
    weights = save(model, tmp_path / "best.pt")
    made = yolo_ema_command("export", "--weights", weights, "--out", tmp_path, "--imgsz", "96")
    assert made.code == 0, made.err
    words = ("--data", data, "--conf", "0.0001", "--max-det", "50", "--device", "cpu", "--json")
    square, exported = (
        yolo_ema_command(
            "val", "--weights", file, *words, "--save-results", file.stem + file.suffix[1:]
        )
        for file in (weights, tmp_path / "best.onnx")
    )
    assert exported.code == 0, exported.err
    found = exported.json
    assert found["weights"]["format"] == "onnx"
    assert found["protocol"]["max_det"] == 50
    assert "--max-det is 50" in exported.err
    assert found["protocol"]["detections"] == square.json["protocol"]["detections"] > 0
    # Images of 120x90 fill a square of 96 but for a strip that the weights, being free in shape, do
    # not pad.
    assert found["coco"]["AP"] == pytest.approx(square.json["coco"]["AP"], abs=1.0)
    missing = yolo_ema_command("val", "--weights", tmp_path / "best.onnx", "--data", "visdrone")
    assert (missing.code, missing.out) == (6, "")
    assert "yolo-ema data prepare visdrone" in missing.err


@pytest.mark.slow
def test_names_that_do_not_match_give_one_clear_line(data, tmp_path, yolo_ema_command):
    model = build_model("yolo11n", class_count=2)
    model.names = {0: "person", 1: "car"}
    torch.save({"model": model, "train_args": {"imgsz": 64}}, tmp_path / "two.pt")
    words = ("val", "--weights", "two.pt", "--data", data, "--imgsz", "64", "--device", "cpu")
    done = yolo_ema_command(*words)
    assert (done.code, done.out) == (2, "")
    assert "--map person=pedestrian" in done.err
    done = yolo_ema_command(*words, "--map", "person=pedestrian", "car=bus", "--json")
    assert done.code == 0, done.err
    assert done.json["weights"]["classes"] == {"person": "pedestrian", "car": "bus"}


@pytest.mark.realdata
@pytest.mark.slow
def test_map50_is_near_ultralytics_own(shared, tmp_path, monkeypatch):
    """The same boxes: what differs is how precision is averaged over recall, and half a stride of
    padding.
    """
    weights = shared / "weights" / "yolo11n_coco_from_int8.pt"
    sample = shared / "data" / "visdrone-sample" / "VisDrone2019-DET-val"
    images = sorted((sample / "images").iterdir())[::16]
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for image in images:
        picture = cv2.resize(cv2.imread(str(image)), (640, 360))
        cv2.imwrite(str(tmp_path / "images" / f"{image.stem}.png"), picture)
        height, width = cv2.imread(str(image)).shape[:2]
        rows = read_annotations(sample / "annotations" / f"{image.stem}.txt").rows
        lines = [
            f"{CAR_LIKE[int(c)]} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
            f"{w / width:.6f} {h / height:.6f}"
            for x, y, w, h, _, c in rows
            if int(c) in CAR_LIKE and x + w <= width and y + h <= height
        ]
        (tmp_path / "labels" / f"{image.stem}.txt").write_text("\n".join(lines))
    model = YOLO(weights)
    names = "".join(f"  {number}: {name}\n" for number, name in model.names.items())
    yaml = tmp_path / "sample.yaml"
    yaml.write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames:\n{names}")
    monkeypatch.chdir(tmp_path)
    with log_to_stderr():
        theirs = model.val(
            data=str(yaml),
            imgsz=640,
            batch=1,
            device="cpu",
            plots=False,
            verbose=False,
            workers=0,
            max_det=500,
        )
    ours = validate(
        ValOptions(weights=weights, data=str(yaml), imgsz=(640,), device="cpu")
    ).scorecard
    assert 100 * theirs.box.map50 > 10
    assert ours.coco.summary["AP50"] == pytest.approx(100 * theirs.box.map50, abs=1.0)
    assert ours.coco.summary["AP"] == pytest.approx(100 * theirs.box.map, abs=0.7)
