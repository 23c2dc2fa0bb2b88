"""The gate: a good file passes, and each fault is refused by its name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import faulty_files as faults
import numpy as np
import pytest
from lively_weights import lively_model, save

from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.metadata_check import check_metadata
from yolo_ema.deploy.parity.parity_report import FAILED, NOT_PROVEN, PASSED, GateLimits
from yolo_ema.detect.predictors import read_file_metadata
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import DataNotFoundError, UnsafeWeightsError, WeightsError
from yolo_ema.inference.file_metadata import ArtifactMetadata

ROWS = 14  # 4 + classes


@pytest.fixture
def spoil(good, tmp_path):
    """Return a function that makes a file with a fault."""
    return lambda surgery: faults.spoilt(good, tmp_path / "bad.onnx", surgery)


@pytest.fixture
def judge(gate_weights, gate_pictures):
    """Return a function that asks the gate about a file."""

    def ask(file: Path, **more: object):
        return prove(
            file, gate_weights, load_model(gate_weights), **{"images": [gate_pictures], **more}
        )

    return ask


def test_good_file_passes_on_images_and_a_crowd_whole_and_tiled(good, judge):
    report = judge(good)
    assert (report.status, report.reasons) == (PASSED, ())
    by_name = {case.name.partition(",")[0].partition(" of ")[0]: case for case in report.cases}
    assert list(by_name) == ["batch 1", "proposals before NMS", "crowded", "tiles"]
    assert by_name["batch 1"].boxes >= 500
    assert by_name["batch 1"].images == 20
    assert by_name["crowded"].boxes > 300
    assert all(case.box_px < 0.01 and case.score < 1e-5 for case in report.cases)
    assert all(case.missing == case.spurious == case.class_mismatch == 0 for case in report.cases)
    found = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert found["status"] == "passed"
    assert found["cases"][0]["boxes"] == by_name["batch 1"].boxes
    assert found["limits"]["least_boxes"] == 500
    assert "tiny.onnx: passed" in report.as_text()
    assert "crowded, " in report.as_text()


@pytest.mark.slow
def test_dynamic_file_is_run_in_batches_and_at_a_second_size(made, gate_weights, judge, tmp_path):
    file = made(gate_weights, dynamic=True)
    report = judge(file)
    assert report.passed, report.reasons
    names = [case.name for case in report.cases]
    assert "batch 4" in names
    assert "size 96x320" in names
    bad = faults.spoilt(file, tmp_path / "mixed.onnx", faults.mixes_its_batch)
    report = judge(bad)
    assert report.status == FAILED
    assert [reason.partition(":")[0] for reason in report.reasons] == ["batch 4"], (
        "a single image is right"
    )


def test_file_with_a_fixed_batch_is_run_in_that_batch(made, gate_weights, judge):
    report = judge(made(gate_weights, batch=2))
    assert report.passed, report.reasons
    assert report.cases[0].name == "batch 2"


@pytest.mark.parametrize(
    "number",
    [pytest.param(0, marks=pytest.mark.slow), 8, pytest.param(-1, marks=pytest.mark.slow)],
)
def test_one_convolution_scaled_by_a_hundredth_is_refused(spoil, judge, number):
    report = judge(spoil(faults.scaled_convolution(number)))
    assert report.status == FAILED
    assert any("drift" in reason and "convolution" in reason for reason in report.reasons), (
        report.reasons
    )
    assert report.cases[0].missing < 0.5 * report.cases[0].boxes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("surgery", "says"),
    [
        (faults.expects_bgr, "the file expects BGR: with red and blue swapped"),
        (faults.expects_bytes, "the file expects pixels of 0…255"),
        (faults.divides_twice, "the file scales its input wrongly"),
        (faults.expects_bgr_bytes, "the file expects BGR of 0…255"),
        (faults.ignores_its_input, "it ignores its input"),
        (
            faults.swapped_names(3, 8),
            (
                "class names are swapped in the file: 3 is 'class 8' instead of 'class 3', 8 is "
                "'class "
                "3'"
            ),
        ),
        (
            faults.swapped_classes(3, 8, ROWS),
            (
                "another order: class 8 where the weights give class 3; class 3 where the weights "
                "give "
                "class 8"
            ),
        ),
        (
            faults.loses_proposals(960),
            "its network proposes 960 boxes per image before NMS, the weights' 1260",
        ),
        (faults.silent_proposals(0, 300, ROWS), "drops detections"),
        (faults.moved_boxes(ROWS, shift_px=8, start=960, stop=1200), "only at stride 16"),
        (faults.moved_boxes(ROWS, shift_px=14), "plus 0.0, 14.0 px of the input"),
        (faults.moved_boxes(ROWS, factor=1.2), "times 1, 1.2 (x, y)"),
    ],
    ids=lambda value: value[:30].replace(" ", "-") if isinstance(value, str) else "",
)
def test_fault_is_refused_by_its_name(spoil, judge, surgery, says):
    report = judge(spoil(surgery))
    assert report.status == FAILED
    assert any(says in reason for reason in report.reasons), report.reasons


@pytest.mark.parametrize(
    ("says_of_itself", "fault"),
    [
        ({"weights_sha256": "0" * 64}, "made from other weights: it names SHA-256 000000000000…"),
        ({"stride": 16}, "its stride as 16, but the weights have 32"),
        (
            {"imgsz_hw": (192, 300)},
            "input is 192x300; sides must be multiples of the weights' stride, 32",
        ),
        ({"channel_order": "BGR"}, "asks for channel_order 'BGR'"),
        ({"layout": "NHWC"}, "asks for layout 'NHWC'"),
        ({"letterbox_value": 0}, "asks for letterbox_value 0"),
        ({"pixel_scale": 1.0}, "asks for pixels times 1, but"),
        ({"names": {0: "car"}}, "names 1 classes, but the weights have 10"),
        ({"names": {}}, "does not name its classes"),
    ],
)
def test_a_files_metadata_is_compared_with_its_weights(good, gate_weights, says_of_itself, fault):
    loaded, metadata = load_model(gate_weights), read_file_metadata(good)
    assert check_metadata(metadata, loaded).faults == ()
    (found,) = check_metadata(dataclasses.replace(metadata, **says_of_itself), loaded).faults
    assert fault in found


def test_missing_metadata_is_noted(gate_weights):
    loaded = load_model(gate_weights)
    found = check_metadata(ArtifactMetadata(names=loaded.names, nms=True), loaded)
    assert found.faults == ()
    assert [note.split("(")[1].split(")")[0] for note in found.notes] == [
        "imgsz",
        "weights_sha256",
        "max_det",
    ]


@pytest.mark.slow
def test_limit_of_boxes_inside_the_file_is_named(made, gate_weights, judge, tmp_path):
    """NMS inside keeps 40 boxes, and the file says it keeps 1000."""
    file = made(gate_weights, nms=True, conf=0.02, max_det=40)
    honest = judge(file)
    assert honest.status == PASSED, honest.reasons
    assert any(
        "keeps at most 40 boxes per image, by its own account" in note for note in honest.notes
    )
    report = judge(faults.spoilt(file, tmp_path / "bad.onnx", faults.metadata(max_det=1000)))
    assert report.status == FAILED
    assert any(
        "drops detections" in reason and "keeps at most 40 boxes per image" in reason
        for reason in report.reasons
    )


def test_file_of_other_weights_is_refused_twice(good, gate_pictures, tmp_path):
    other = save(lively_model("tiny", seed=1), tmp_path / "other.pt")
    report = prove(good, other, load_model(other), images=[gate_pictures])
    assert report.status == FAILED
    assert "made from other weights" in report.reasons[0]
    assert any(reason.startswith("batch 1: ") for reason in report.reasons), "the boxes say so, too"


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["that it names", "that it does not name"])
def test_file_of_another_number_of_classes_is_refused(good, gate_pictures, tmp_path, named):
    file = (
        good
        if named
        else faults.spoilt(good, tmp_path / "bad.onnx", faults.without_metadata("names"))
    )
    four = save(lively_model("tiny", classes=4), tmp_path / "four.pt")
    report = prove(file, four, load_model(four), images=[gate_pictures])
    assert report.status == FAILED
    if named:
        assert "the file names 10 classes, but the weights have 4" in report.reasons
        assert "the boxes were not compared, since the classes differ" in report.notes
    else:
        assert "the file does not name its classes" in report.reasons
        assert any(reason.startswith("batch 1: ") for reason in report.reasons), (
            "the boxes say so, too"
        )


def test_truncated_file_is_refused(good, judge, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    report = judge(cut)
    assert report.status == FAILED
    assert "cannot be read" in report.reasons[0]


@pytest.mark.slow
def test_too_few_images_or_boxes_are_no_proof(good, gate_pictures, judge):
    some = sorted(gate_pictures.glob("*.png"))
    report = judge(good, images=some[:19])
    assert report.status == NOT_PROVEN
    assert "19 images are too few; expected at least 20" in report.reasons[0]


@pytest.mark.slow
def test_nms_inside_with_a_high_threshold_finds_too_little_to_prove(made, gate_weights, judge):
    report = judge(made(gate_weights, nms=True, conf=0.95))
    assert report.status == NOT_PROVEN
    assert any(
        "are too few; expected at least 500" in reason and "--conf" in reason
        for reason in report.reasons
    )


@pytest.mark.slow
def test_weights_that_ignore_their_input_prove_nothing(made, gate_pictures, tmp_path):
    import torch

    model = lively_model("tiny")
    with torch.no_grad():
        model.model[0].conv.weight.zero_()
    blind = save(model, tmp_path / "blind.pt")
    report = prove(made(blind), blind, load_model(blind), images=[gate_pictures])
    assert report.status == NOT_PROVEN
    assert any("answer these images like an empty one" in reason for reason in report.reasons)


@pytest.mark.slow
def test_a_file_that_ignores_its_input_passes_with_no_weights(made, gate_pictures, tmp_path):
    import torch

    model = lively_model("tiny")
    with torch.no_grad():
        model.model[0].conv.weight.mul_(1e-6)  # images differ by ties alone
    faint = save(model, tmp_path / "faint.pt")
    blind = faults.spoilt(made(faint), tmp_path / "blind.onnx", faults.ignores_its_input)
    report = prove(blind, faint, load_model(faint), images=[gate_pictures])
    assert report.status == NOT_PROVEN
    assert any("exactly the same scores for every image" in reason for reason in report.reasons)


@pytest.mark.slow
def test_barely_trained_weights_are_proven_by_their_best_boxes(made, gate_pictures, tmp_path):
    import torch

    model = lively_model("tiny")
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].bias.sub_(6.0)  # no score reaches 0.05
    weak = save(model, tmp_path / "weak.pt")
    file = made(weak)
    report = prove(file, weak, load_model(weak), images=[gate_pictures])
    assert report.passed, report.reasons
    assert report.cases[0].lowest_score < 0.05
    bad = prove(
        faults.spoilt(file, tmp_path / "bad.onnx", faults.scaled_convolution(-1)),
        weak,
        load_model(weak),
        images=[gate_pictures],
    )
    assert bad.status == FAILED, "tolerances shrink with the scores"


@pytest.fixture(scope="module")
def level_weights(tmp_path_factory) -> Path:
    """Weights whose scores are equal all over but for the last digits, as after too little
    training: NMS and merging choose arbitrarily.
    """
    import torch

    model = lively_model("tiny")
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].weight.mul_(2e-6)
            branch[-1].bias.copy_(torch.linspace(-4, -6, 10))
    return save(model, tmp_path_factory.mktemp("level") / "level.pt", half=False)


@pytest.mark.slow
def test_arbitrary_choices_of_nms_and_merging_are_proven_ties(made, level_weights, gate_pictures):
    """That hides no fault: what the networks say is compared, proposal by proposal."""
    file = made(level_weights)
    report = prove(file, level_weights, load_model(level_weights), images=[gate_pictures])
    by_name = {case.name.partition(" of ")[0]: case for case in report.cases}
    assert report.passed, report.reasons
    assert by_name["tiles"].ties > 50
    bad = faults.spoilt(file, file.with_name("bad.onnx"), faults.moved_boxes(ROWS, shift_px=0.05))
    report = prove(bad, level_weights, load_model(level_weights), images=[gate_pictures])
    assert report.status == FAILED


@pytest.mark.slow
def test_head_that_needs_no_nms(made, gate_pictures, tmp_path):
    weights = save(lively_model("tiny-nms-free"), tmp_path / "free.pt")
    file = made(weights, nms=False)
    report = prove(file, weights, load_model(weights), images=[gate_pictures])
    assert report.passed, report.reasons
    bad = prove(
        faults.spoilt(file, tmp_path / "bad.onnx", faults.scaled_convolution(2)),
        weights,
        load_model(weights),
        images=[gate_pictures],
    )
    assert bad.status == FAILED


@pytest.mark.slow
def test_the_tolerance_is_the_users_choice(spoil, judge):
    loose = judge(
        spoil(faults.scaled_convolution(3, 1.0005)), limits=GateLimits(px=50.0, score=1.0)
    )
    assert loose.passed, loose.reasons
    assert loose.box_px > 0


def test_a_file_that_is_not_an_export(gate_weights, judge, tmp_path):
    with pytest.raises(WeightsError, match=r"is a \.pt"):
        judge(gate_weights)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(DataNotFoundError, match="nothing at"):
        judge(tmp_path / "empty.onnx", images=[tmp_path / "nowhere"])


@pytest.mark.slow
def test_program_is_run_only_on_trust(made, gate_weights, judge):
    file = made(gate_weights, "torchscript")
    with pytest.raises(UnsafeWeightsError, match="--trust"):
        judge(file)
    report = judge(file, trust_artifact=True)
    assert report.passed, report.reasons
    assert np.isfinite(report.box_px)
