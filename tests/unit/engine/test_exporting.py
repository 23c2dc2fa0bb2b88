"""Exports: whole and checked, or not there."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_weights import lively_model, picture, save

from yolo_ema.engine import exporting
from yolo_ema.engine.agreement import Agreement, compare_boxes, compare_candidates
from yolo_ema.engine.exporting import export
from yolo_ema.engine.runtime import Runtime
from yolo_ema.errors import CheckFailedError, ConfigError, DataNotFoundError, DiskFullError, MissingPackageError, UnsafeWeightsError
from yolo_ema.files import sha256_of
from yolo_ema.options.export import ExportOptions


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(2):
        cv2.imwrite(str(folder / f"{seed}.png"), picture(seed))
    return folder


@pytest.fixture(scope="module")
def fixed(weights, pictures, tmp_path_factory):
    """A static export, made once."""
    return export(ExportOptions(weights=weights, out=tmp_path_factory.mktemp("fixed"), imgsz=(192, 320), check_images=(pictures,)))


def test_onnx_gives_the_same_boxes(weights, fixed):
    image = picture(9)
    square = {"device": "cpu", "rectangular": False, "imgsz": (192, 320), "conf": 0.4}
    ours, theirs = Runtime(weights, **square)([image])[0], Runtime(fixed.path, **square)([image])[0]
    assert len(ours) == len(theirs) > 3
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=0.05)


def test_result_says_what_was_checked(fixed):
    found = fixed.as_json()["files"][0]
    assert found["check"]["images"] == 2
    assert found["check"]["boxes"] > 20
    assert found["check"]["largest_box_difference_px"] < 0.1
    assert found["check"]["boxes_without_counterpart"] == 0
    assert (found["imgsz_hw"], found["format"], found["unchecked"]) == ([192, 320], "onnx", None)
    assert found["bytes"] == fixed.path.stat().st_size
    json.dumps(fixed.as_json(), allow_nan=False)
    assert "checked on 2 images" in fixed.as_text()


def test_metadata_tells_classes_stride_size_limit_and_origin(weights, fixed):
    onnx = pytest.importorskip("onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(str(fixed.path)).metadata_props}
    assert metadata["imgsz"] == "[192, 320]"
    assert metadata["stride"] == "32"
    assert metadata["max_det"] == "1000"
    assert metadata["weights_sha256"] == sha256_of(weights)
    assert "class 9" in metadata["names"]
    assert str(weights.parent) not in str(metadata)


def test_fixed_file_takes_no_other_size(fixed):
    runtime = Runtime(fixed.path, device="cpu")
    assert (runtime.imgsz_hw, runtime.batched, runtime.rectangular, runtime.stride) == ((192, 320), False, False, 32)
    assert len(runtime([picture(1), picture(2)])) == 2
    with pytest.raises(ConfigError, match="only images of 192x320"):
        Runtime(fixed.path, imgsz=640)


def test_dynamic_file_is_as_rectangular_as_the_weights(weights, pictures, tmp_path):
    result = export(ExportOptions(weights=weights, out=tmp_path / "any.onnx", dynamic=True, check_images=(pictures,)))
    assert result.path == tmp_path / "any.onnx"
    image = picture(4, (333, 150))
    ours, theirs = Runtime(weights, device="cpu", conf=0.4), Runtime(result.path, device="cpu", conf=0.4)
    assert theirs.batched
    assert theirs.rectangular
    np.testing.assert_allclose(theirs([image])[0], ours([image])[0], rtol=0, atol=0.05)


@pytest.mark.parametrize("nms", [True, False])
def test_file_that_chooses_by_itself_keeps_max_det(pictures, tmp_path, nms):
    weights = save(lively_model("tiny" if nms else "tiny-nms-free"), tmp_path / "model.pt")
    options = ExportOptions(
        weights=weights,
        nms=nms,
        imgsz=(320,),
        conf=0.02,
        max_det=600,
        check_images=(pictures,),
        tolerance_px=1e3,
        tolerance_score=1.0,
    )
    runtime = Runtime(export(options).path, device="cpu", conf=0.02)
    assert runtime.max_det == 600
    assert runtime.candidates(picture(1)) is None
    assert 300 < len(runtime([picture(1)])[0]) <= 600


def test_wrong_export_is_refused_and_the_old_file_stays(weights, pictures, tmp_path, monkeypatch):
    (tmp_path / "tiny.onnx").write_bytes(b"the old one")
    monkeypatch.setattr(exporting, "compare_runtimes", lambda *_, **__: Agreement(2, 50, 0, 3.0, 0.001))
    with pytest.raises(CheckFailedError, match=r"differ by up to 3 px \(at most 1\)"):
        export(ExportOptions(weights=weights, out=tmp_path, imgsz=(192,), check_images=(pictures,)))
    assert (tmp_path / "tiny.onnx").read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


def test_export_of_other_weights_is_caught(weights, fixed, pictures, monkeypatch, tmp_path):
    """The check compares what the file does, not what was meant."""
    other = save(lively_model("tiny", seed=1), tmp_path / "other.pt")
    monkeypatch.setattr(exporting, "_run_exporter", lambda *_: (type("Fake", (), {"imgsz": (192, 320)})(), fixed.path))
    with pytest.raises(CheckFailedError, match="is not written"):
        export(ExportOptions(weights=other, out=tmp_path / "out", check_images=(pictures,)))
    assert not (tmp_path / "out").exists()


def test_full_disk_is_one_clear_error(weights, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_run_exporter", full)
    with pytest.raises(DiskFullError, match="disk full"):
        export(ExportOptions(weights=weights, out=tmp_path / "out", check=False))


def test_unknown_setting_names_the_closest(weights):
    with pytest.raises(ConfigError, match="did you mean 'simplify'"):
        export(ExportOptions(weights=weights, check=False, settings={"simplfy": "false"}))


def test_setting_with_a_flag_of_its_own(weights):
    with pytest.raises(ConfigError, match="--max-det"):
        export(ExportOptions(weights=weights, check=False, settings={"max_det": "5"}))


def test_missing_converter_is_named(weights, tmp_path):
    with pytest.raises(MissingPackageError, match="paddle"):
        export(ExportOptions(weights=weights, format=("paddle",), out=tmp_path, check=False))


def test_no_images_to_check_on(weights, tmp_path):
    with pytest.raises(DataNotFoundError, match="no images"):
        export(ExportOptions(weights=weights, check_images=(tmp_path,)))


def test_out_of_another_format(weights, fixed, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_run_exporter", lambda *_: (type("Fake", (), {"imgsz": (192, 320)})(), fixed.path))
    with pytest.raises(ConfigError, match=r"ending in \.onnx"):
        export(ExportOptions(weights=weights, out=tmp_path / "model.engine", check=False))


def test_untrusted_weights_are_not_exported(tmp_path):
    import torch

    class Calls:
        def __reduce__(self):
            return eval, ("1",)

    torch.save({"model": Calls()}, tmp_path / "bad.pt")
    with pytest.raises(UnsafeWeightsError):
        export(ExportOptions(weights=tmp_path / "bad.pt"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"imgsz": (640, 640, 640)}, "--imgsz"),
        ({"batch": 0}, "--batch"),
        ({"conf": 2.0}, "--conf"),
        ({"format": ("onxx",)}, "onxx"),
        ({"format": ()}, "--format"),
        ({"format": ("onnx", "openvino"), "out": Path("a.onnx")}, "folder"),
    ],
)
def test_options_check_themselves(wrong, says):
    with pytest.raises(ConfigError, match=says):
        ExportOptions(weights=Path("w.pt"), **wrong)


# ------------------------------------------------------------------------------------------------------------ agreement

ROW = np.array([[10, 10, 30, 30, 0.9, 1]], np.float32)


def test_shifted_box_is_measured():
    other = ROW + np.array([0, 2, 0, 0, -0.1, 0], np.float32)
    found = compare_boxes(ROW, other, scale=0.5)
    assert (found.boxes, found.missing, found.box_px) == (1, 0, 1.0)
    assert found.score == pytest.approx(0.1)


@pytest.mark.parametrize("change", [[0, 0, 0, 0, 0, 1], [50, 50, 50, 50, 0, 0]])
def test_box_of_another_class_or_place_has_no_counterpart(change):
    found = compare_boxes(ROW, ROW + np.array(change, np.float32))
    assert (found.boxes, found.missing) == (0, 2)


def test_weak_box_may_be_missing():
    assert compare_boxes(ROW, ROW[:0], threshold=0.95).missing == 0
    assert compare_boxes(ROW[:0], ROW, threshold=0.5).missing == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_a_shuffled_copy_agrees_wholly(count, seed):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 500, (count, 2))
    rows = np.column_stack([corner, corner + random.uniform(5, 50, (count, 2)), random.random(count), random.integers(0, 3, count)])
    found = compare_boxes(rows, rows[random.permutation(count)])
    assert (found.boxes, found.missing, found.box_px, found.score) == (count, 0, 0.0, 0.0)


def test_candidates_are_compared_one_by_one():
    reference = np.array([[5, 5, 2, 2, 0.9, 0.1], [7, 7, 2, 2, 0.01, 0.02]])
    other = reference + np.array([[0.5, 0, 0, 0, 0, 0], [90, 0, 0, 0, 0.3, 0]])
    found = compare_candidates(reference, other, lowest_score=0.25)
    assert (found.boxes, found.box_px) == (2, 90.0)
    assert found.score == pytest.approx(0.3)
    assert compare_candidates(reference[1:], reference[1:] + 0.1, lowest_score=0.25).boxes == 0
    assert compare_candidates(reference, reference * np.nan, lowest_score=0.25).score == np.inf
