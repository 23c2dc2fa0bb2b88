"""What happens between detections and figures, with weights that find what they are told to."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from drawn_onnx import ENTRIES, write_onnx

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import (
    AnnotationError,
    ConfigError,
    DataError,
    DataNotFoundError,
    OfflineError,
    SourceError,
    WeightsNotFoundError,
)
from yolo_ema.evaluate import validation
from yolo_ema.evaluate.validation import validate
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.metrics.score import score
from yolo_ema.options.score import ScoreOptions
from yolo_ema.options.val import ValOptions

OBJECTS = (
    (10, 20, 30, 40),
    (60, 20, 80, 40),
)  # x1, y1, x2, y2: the first a square, the second a bar


@pytest.fixture
def data(tmp_path):
    for folder in ("images", "labels", "ignored"):
        (tmp_path / folder / "val").mkdir(parents=True)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / "images/val" / f"{name}.jpg"), np.zeros((100, 200, 3), np.uint8))
        rows = [
            f"{k} {(x1 + x2) / 400} {(y1 + y2) / 200} {(x2 - x1) / 200} {(y2 - y1) / 100}"
            for k, (x1, y1, x2, y2) in enumerate(OBJECTS)
        ]
        (tmp_path / "labels/val" / f"{name}.txt").write_text("\n".join(rows))
    yaml = tmp_path / "data.yaml"
    yaml.write_text(f"path: {tmp_path}\ntrain: images/val\nval: images/val\nnames: [square, bar]\n")
    return yaml


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Stands in for the runtime: returns ``weights.found`` for every image."""
    path = tmp_path / "run" / "weights" / "best.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    stand_in = SimpleNamespace(
        weights=path,
        names={0: "bar", 1: "square"},
        format="pt",
        precision="fp32",
        plan_figures=None,
        imgsz_hw=(64, 96),
        rectangular=True,
        stride=32,
        max_det=500,
        settings=PredictorSettings(multi_label=True),
        batched=True,
        seconds={"preprocess": 0.1, "inference": 0.2, "postprocess": 0.3},
        batches=[],
        found=np.array([[*OBJECTS[0], 0.9, 1], [*OBJECTS[1], 0.8, 0]], np.float32),
    )

    def open_predictor(weights, **asked):
        stand_in.asked = asked
        return Runtime()

    class Runtime:
        def __getattr__(self, name):
            return getattr(stand_in, name)

        def __setattr__(self, name, value):
            setattr(stand_in, name, value)

        def __call__(self, images):
            stand_in.batches.append(len(images))
            return [stand_in.found for _ in images]

    monkeypatch.setattr(validation, "open_predictor", open_predictor)
    return stand_in


def run(data, weights, **options):
    return validate(ValOptions(weights=weights.weights, data=str(data), **options))


def test_classes_go_by_name_and_perfect_boxes_score_100(data, weights):
    result = run(data, weights)
    found = result.as_json()
    assert found["official"]["AP"] == found["coco"]["AP"] == pytest.approx(100)
    assert found["protocol"]["imgsz"] == [64, 96]
    assert found["protocol"]["split"] == "val"
    assert found["protocol"]["ground_truth"] == {"labels": 3}
    assert found["weights"]["classes"] == {"bar": "bar", "square": "square"}
    assert found["seconds_per_image"] == pytest.approx(
        {"preprocess": 0.1, "inference": 0.2, "postprocess": 0.3}
    )
    assert {"ultralytics", "torch", "yolo-ema"} <= set(found["protocol"]["versions"])
    json.dumps(found, allow_nan=False)
    assert "split val, 3 images, 6 detections" in result.as_text()


def test_the_runtime_is_asked_for_what_the_protocols_need(data, weights):
    run(data, weights, imgsz=(64, 96), conf=0.01, iou=0.6)
    asked = weights.asked
    assert (asked["max_det"], asked["conf"], asked["iou"], asked["imgsz"]) == (
        500,
        0.01,
        0.6,
        (64, 96),
    )
    assert weights.settings.classes == [0, 1]


def test_ignored_regions_next_to_the_labels_count_in_the_official_figures_only(data, weights):
    for name in ("a", "b", "c"):
        (data.parent / "ignored/val" / f"{name}.txt").write_text(
            "0.35 0.3 0.3 0.6\n"
        )  # around the bar
    weights.found = np.vstack([[[62, 22, 70, 30, 0.99, 0]], weights.found]).astype(np.float32)
    found = run(data, weights).as_json()
    assert found["per_class"]["bar"]["official"]["AP"] is None
    assert found["official"]["AP"] == pytest.approx(100)
    assert found["coco"]["AP"] < 90


def test_batches(data, weights):
    run(data, weights, batch=2)
    assert weights.batches == [2, 1]
    weights.batches.clear()
    weights.batched = False
    run(data, weights, batch=2)
    assert weights.batches == [1, 1, 1]


def test_images_at_the_limit_are_named(data, weights, capsys):
    weights.max_det = 2
    result = run(data, weights)
    assert result.images_at_limit == ("a", "b", "c")
    said = capsys.readouterr().err
    assert "3 of 3 images reach the limit of 2 detections: a, b, c" in said
    assert "holds at most 2 detections" in said


def test_fewer_detections_than_the_protocols_consider_are_reported(data, weights, capsys):
    weights.max_det = 100
    found = run(data, weights, max_det=100).as_json()
    assert weights.asked["max_det"] == found["protocol"]["max_det"] == 100
    assert "--max-det is 100: there are at most 100 detections" in capsys.readouterr().err
    weights.max_det = 500
    assert run(data, weights, max_det=500).as_json()["warnings"] == []


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_the_limit_of_whole_images_shows_in_whatever_order_they_come(data, names, capsys):
    """A file that holds two boxes, for a large image in tiles and a small one."""
    entries = ENTRIES | {"args": {"nms": True, "dynamic": False}, "max_det": 2}
    boxes = np.array([[[5, 5, 20, 20, 0.9, 0], [40, 20, 70, 40, 0.8, 1]]], np.float32)
    file = write_onnx(data.parent / "nms.onnx", entries, answer=boxes)
    (data.parent / "images/val/c.jpg").unlink()
    for name, side in zip(names, (640, 60), strict=True):
        image = np.zeros((side, side, 3), np.uint8)
        cv2.imwrite(str(data.parent / f"images/val/{name}.jpg"), image)
    options = {"map": ("class 0=square", "class 1=bar"), "tile": "auto", "device": "cpu"}
    found = validate(ValOptions(weights=file, data=str(data), **options))
    assert len(found.evidence.detections[names[0]]) > 2
    assert found.images_at_limit == (names[1],)
    assert found.as_json()["protocol"]["max_det"] == 2
    said = capsys.readouterr().err
    assert f"1 of 2 images reach the limit of 2 detections: {names[1]}" in said
    assert "the exported file holds at most 2 detections per image" in said


def test_weights_are_checked_before_the_data(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="no-such"):
        validate(ValOptions(weights=tmp_path / "no-such.pt", data="no-such-data"))


def test_classes_that_do_not_match_are_an_error_that_says_how_to_map(data, weights, capsys):
    weights.names = {0: "stick", 1: "square"}
    with pytest.raises(ConfigError, match="--map stick=bar"):
        run(data, weights)
    assert run(data, weights, map=("stick=bar",)).as_json()["official"]["AP"] == pytest.approx(100)
    weights.names = {0: "stick", 1: "box", 2: "dot"}
    found = run(data, weights, map=("box=square",)).as_json()
    assert weights.settings.classes == [1]
    assert "no class of the weights counts as bar" in found["warnings"][0]
    assert "left out: stick, dot" in capsys.readouterr().err


def test_missing_data_is_not_downloaded(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OfflineError, match="data prepare visdrone"):
        run("visdrone", weights)


def test_saved_results_hold_exactly_what_was_scored(data, weights, tmp_path):
    weights.found = np.array([[10.123456, 20, 30, 40, 0.123456789, 1]], np.float32)
    result = run(data, weights, save_results=tmp_path / "results")
    assert (
        tmp_path / "results" / "a.txt"
    ).read_text() == "10.12,20.00,19.88,20.00,0.123457,1,-1,-1\n"
    assert result.evidence.detections["a"].tolist() == [[10.12, 20, 19.88, 20, 0.123457, 1]]
    assert result.as_json()["saved_results"] == str(tmp_path / "results")


def test_saved_results_of_images_in_folders_score_the_same(data, weights, tmp_path):
    """One stem is there twice, and the annotations are VisDrone's."""
    for number, name in enumerate(("n/0001", "s/0001", "s/0002")):
        image, truth = (
            tmp_path / folder / "val" / f"{name}{suffix}"
            for folder, suffix in (("images", ".jpg"), ("annotations", ".txt"))
        )
        image.parent.mkdir(exist_ok=True)
        truth.parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "images/val" / f"{'abc'[number]}.jpg").rename(image)
        truth.write_text(f"{10 + 5 * number},20,20,20,1,1,0,0\n60,20,20,20,1,4,0,0\n")
    names = dict(enumerate(VISDRONE_CLASSES))
    data.write_text(f"path: {tmp_path}\ntrain: images/val\nval: images/val\nnames: {names}\n")
    weights.names = names
    weights.found = np.array([[10, 20, 30, 40, 0.9, 0], [61, 20, 80, 40, 0.8, 3]], np.float32)
    found = run(data, weights, save_results=tmp_path / "results").as_json()
    options = ScoreOptions(
        annotations=tmp_path / "annotations/val",
        results=tmp_path / "results",
        images=tmp_path / "images/val",
    )
    scored = score(options).as_json()
    assert 0 < found["official"]["AP"] < 100
    for figures in ("official", "coco", "per_class", "thresholds"):
        assert scored[figures] == found[figures]
    assert scored["warnings"] == []


def test_results_that_score_cannot_read_are_said(data, weights, tmp_path):
    names = [*weights.names.values(), *(f"class {n}" for n in range(9))]
    assert not any("categories" in text for text in run(data, weights).scorecard.warnings)
    data.write_text(data.read_text().replace("[square, bar]", str(names)))
    weights.names = dict(enumerate(names))
    weights.found[:, 5] = [1, 10]
    said = run(data, weights, save_results=tmp_path / "results").scorecard.warnings
    assert any("have categories up to 11, and VisDrone's format ends at 10" in one for one in said)


def test_the_runs_record_is_found_next_to_the_weights(data, weights):
    assert run(data, weights).run_record is None
    (weights.weights.parents[1] / "run.json").write_text('{"command": "yolo-ema train"}')
    assert run(data, weights).run_record == {"command": "yolo-ema train"}


def test_a_split_without_labels_cannot_be_scored(data, weights):
    for file in (data.parent / "labels/val").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="none of the 3 images of 'val' has labels"):
        run(data, weights)


def test_bad_rows_of_the_ground_truth_are_reported_or_refused(data, weights, capsys):
    with (data.parent / "labels/val/b.txt").open("a") as file:
        file.write("\n1 2 3")
    assert run(data, weights).as_json()["official"]["AP"] == pytest.approx(100)
    assert "1 row of the ground truth cannot be read" in capsys.readouterr().err
    with pytest.raises(AnnotationError, match=r"b.txt, row 3: 3 numbers.*--strict"):
        run(data, weights, strict=True)


def test_a_missing_split_is_named(data, weights):
    with pytest.raises(DataNotFoundError, match="no split 'test'"):
        run(data, weights, split="test")


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_an_image_that_cannot_be_read_is_left_out_named_and_counted(data, weights, batch, capsys):
    image = data.parent / "images/val/b.jpg"
    image.write_bytes(b"")
    found = run(data, weights, batch=batch)
    assert sum(weights.batches) == 2
    assert found.as_json()["official"]["AP"] == pytest.approx(100)
    assert list(found.evidence.images) == ["a", "c"]
    (left_out,) = found.as_json()["images_left_out"]
    assert left_out["image"] == str(image)
    assert "is empty" in left_out["reason"]
    assert found.as_json()["left_out"] == {"images": 1, "ground-truth rows": 0}
    assert "1 of 3 images cannot be scored and are left out" in capsys.readouterr().err
    assert "2 images, 4 detections, at most 500 per image; left out: 1 images" in found.as_text()
    with pytest.raises(SourceError, match=r"b.jpg is empty"):
        run(data, weights, batch=batch, strict=True)


@pytest.mark.parametrize("content", ["0 0.5 0.5 0.1\n", "a b c\n1 2 3\n"])
def test_an_image_none_of_whose_labels_can_be_read_is_left_out(data, weights, content):
    (data.parent / "labels/val/c.txt").write_text(content)
    found = run(data, weights)
    assert list(found.evidence.images) == ["a", "b"]
    assert "c.txt" in found.as_json()["images_left_out"][0]["reason"]
    with pytest.raises(AnnotationError, match=r"c\.txt"):
        run(data, weights, strict=True)


def test_where_no_image_can_be_read_nothing_is_scored(data, weights):
    for name in ("a", "b", "c"):
        (data.parent / f"images/val/{name}.jpg").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"none of the 3 images of 'val' can be scored; .*a\.jpg"):
        run(data, weights)


def test_classes_that_share_a_name_are_distinguished_by_position(data, weights):
    data.write_text(data.read_text().replace("[square, bar]", "[thing, thing]"))
    weights.names = {0: "thing", 1: "thing"}
    weights.found = np.array([[*OBJECTS[0], 0.9, 0], [*OBJECTS[1], 0.8, 1]], np.float32)
    found = run(data, weights).as_json()
    assert found["official"]["AP"] == pytest.approx(100)
    assert list(found["per_class"]) == ["thing (class 0)", "thing (class 1)"]
    assert found["weights"]["classes"] == {name: name for name in found["per_class"]}
    weights.found = weights.found[:, [0, 1, 2, 3, 4, 5]] * 1
    weights.found[:, 5] = weights.found[::-1, 5]
    assert run(data, weights).as_json()["official"]["AP"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"conf": 2.0}, "--conf is 2.0"),
        ({"batch": 0}, "--batch is 0"),
        ({"max_det": 0}, "--max-det is 0"),
        ({"imgsz": (1, 2, 3)}, "--imgsz is 1,2,3"),
        ({"map": ("person",)}, "--map has 'person'"),
    ],
)
def test_options_check_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ValOptions(weights="w.pt", **wrong)


def test_a_box_with_several_classes_that_count_as_one_counts_once(data, weights):
    weights.names = {0: "bar", 1: "square", 2: "cube"}
    weights.found = np.vstack([weights.found, [[*OBJECTS[0], 0.4, 2]]]).astype(np.float32)
    result = run(data, weights, map=("cube=square",))
    assert [len(rows) for rows in result.evidence.detections.values()] == [2, 2, 2]
    assert sorted(result.evidence.detections["a"][:, 4]) == pytest.approx([0.8, 0.9])


@pytest.mark.parametrize("name", ["report", "save_results"])
def test_a_file_where_a_folder_should_be_is_noticed_before_anything_runs(tmp_path, name):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        ValOptions(weights=tmp_path / "w.pt", **{name: tmp_path / "taken"})
