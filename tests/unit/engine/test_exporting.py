"""Exports: whole and checked, or not there."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_weights import lively_model, picture, save
from PIL import Image
from torch import nn

from yolo_ema.engine import exporting
from yolo_ema.engine.agreement import Agreement, compare_boxes, compare_candidates, compare_runtimes
from yolo_ema.engine.exporting import export
from yolo_ema.engine.runtime import Runtime
from yolo_ema.errors import (
    CheckFailedError,
    ConfigError,
    DataNotFoundError,
    DiskFullError,
    MissingPackageError,
    SourceError,
    UnsafeWeightsError,
)
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
    return export(ExportOptions(weights=weights, out=tmp_path_factory.mktemp("fixed"), imgsz=(192, 320), images=(pictures,)))


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
    result = export(ExportOptions(weights=weights, out=tmp_path / "any.onnx", dynamic=True, images=(pictures,)))
    assert result.path == tmp_path / "any.onnx"
    image = picture(4, (333, 150))
    ours, theirs = Runtime(weights, device="cpu", conf=0.4), Runtime(result.path, device="cpu", conf=0.4)
    assert theirs.batched
    assert theirs.rectangular
    np.testing.assert_allclose(theirs([image])[0], ours([image])[0], rtol=0, atol=0.05)


@pytest.mark.parametrize("nms", [True, False])
def test_file_that_chooses_by_itself_keeps_max_det_and_gives_the_same_boxes(pictures, tmp_path, nms):
    weights = save(lively_model("tiny" if nms else "tiny-nms-free"), tmp_path / "model.pt")
    options = ExportOptions(weights=weights, nms=nms, imgsz=(320,), conf=0.02, max_det=600, images=(pictures,))
    settings = {"device": "cpu", "imgsz": 320, "rectangular": False, "conf": 0.02, "max_det": 600}
    image = picture(1)
    runtime = Runtime(export(options).path, **settings)
    assert runtime.max_det == 600
    assert runtime.candidates(image) is None
    theirs = runtime([image])[0]
    assert 300 < len(theirs) <= 600
    ours = Runtime(weights, nms_free=not nms, **settings)([image])[0]
    # Of two that overlap by just the threshold NMS may keep either.
    without = [row for row in ours if not (np.abs(theirs - row) < [0.05, 0.05, 0.05, 0.05, 1e-3, 0.5]).all(axis=1).any()]
    assert abs(len(ours) - len(theirs)) <= 3
    assert len(without) <= 3


def test_nms_inside_gives_exactly_the_boxes_where_no_two_are_close_calls(weights, pictures, tmp_path):
    options = ExportOptions(weights=weights, nms=True, imgsz=(320,), conf=0.5, iou=0.3, out=tmp_path, images=(pictures,))
    settings = {"device": "cpu", "imgsz": 320, "rectangular": False, "conf": 0.5, "iou": 0.3}
    result = export(options)
    ours, theirs = Runtime(weights, **settings)([picture(0)])[0], Runtime(result.path, **settings)([picture(0)])[0]
    assert len(ours) > 20
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=0.05)
    assert result.files[0].agreement.missing == 0


def _weak(folder: Path, name: str = "tiny") -> Path:
    """Weights as after too little training: they see, and no score comes near the usual threshold."""
    model = lively_model(name)
    for part in ("cv3", "one2one_cv3"):
        for level in getattr(model.model[-1], part, None) or []:
            level[-1].bias.data.sub_(12.0)
    return save(model, folder / "weak.pt")


RUN_EXPORTER = exporting.run_exporter


def _ruined(model: nn.Module, *rest: object, **more: object):
    """Convert, with every convolution's weights zeroed before."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data.zero_()
    return RUN_EXPORTER(model, *rest, **more)


@pytest.mark.parametrize("kind", ["tiny", "tiny-nms-free"])
def test_weakly_trained_weights_are_checked_and_a_ruined_file_of_theirs_is_refused(kind, pictures, tmp_path, monkeypatch):
    weights = _weak(tmp_path, kind)
    assert not len(Runtime(weights, device="cpu")([picture(0)])[0])
    options = ExportOptions(
        weights=weights, imgsz=(320,), nms=None if kind == "tiny" else False, out=tmp_path / "out", images=(pictures,)
    )
    found = export(options).files[0].agreement
    assert found.boxes >= 600
    assert found.box_px < 0.5
    assert found.score < 1e-4
    before = (tmp_path / "out/weak.onnx").read_bytes()
    monkeypatch.setattr(exporting, "run_exporter", _ruined)
    with pytest.raises(CheckFailedError, match=r"weak\.onnx is not written"):
        export(options)
    assert (tmp_path / "out/weak.onnx").read_bytes() == before
    unchecked = export(dataclasses.replace(options, prove=False))
    assert unchecked.files[0].as_json()["check"] is None
    assert "not checked: --no-prove" in unchecked.as_text()


def test_file_that_finds_nothing_as_the_weights_do_is_no_proof(pictures, tmp_path):
    options = ExportOptions(weights=_weak(tmp_path), imgsz=(192,), nms=True, out=tmp_path / "out", images=(pictures,))
    with pytest.raises(CheckFailedError, match=r"cannot be checked: .* find anything .* at --conf 0\.25; .* --no-prove"):
        export(options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [MissingPackageError("it needs the package onnxruntime"), RuntimeError("no such operator")])
def test_file_that_cannot_be_run_here_is_refused_unless_the_user_says_so(weights, fixed, pictures, tmp_path, monkeypatch, error):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(exporting, "run_exporter", lambda *_, **__: shutil.copy(fixed.path, tmp_path / "tiny.onnx"))
    monkeypatch.setattr(exporting, "Runtime" if isinstance(error, MissingPackageError) else "compare_runtimes", fails)
    options = ExportOptions(weights=weights, imgsz=(192, 320), out=tmp_path / "out", images=(pictures,))
    with pytest.raises(CheckFailedError, match=f"cannot be checked: .*{error}.*--no-prove"):
        export(options)
    assert not (tmp_path / "out").exists()
    assert export(dataclasses.replace(options, prove=False)).files[0].unchecked == "--no-prove"


def test_images_to_check_on_are_whole_and_of_a_size_that_fits(weights, tmp_path):
    cv2.imwrite(str(tmp_path / "whole.jpg"), picture(0))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:4000])
    with pytest.raises(SourceError, match=r"cut\.jpg is truncated"):
        export(ExportOptions(weights=weights, images=(tmp_path / "cut.jpg",)))
    Image.new("1", (30_000, 30_000)).save(tmp_path / "vast.png")
    with pytest.raises(SourceError, match=r"vast\.png"):
        export(ExportOptions(weights=weights, images=(tmp_path / "vast.png",)))


def test_wrong_export_is_refused_and_the_old_file_stays(weights, pictures, tmp_path, monkeypatch):
    (tmp_path / "tiny.onnx").write_bytes(b"the old one")
    monkeypatch.setattr(exporting, "compare_runtimes", lambda *_, **__: Agreement(2, 50, 0, 3.0, 0.001))
    with pytest.raises(CheckFailedError, match=r"differ by up to 3 px \(at most 0.05\)"):
        export(ExportOptions(weights=weights, out=tmp_path, imgsz=(192,), images=(pictures,)))
    assert (tmp_path / "tiny.onnx").read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


def test_export_of_other_weights_is_caught(weights, fixed, pictures, monkeypatch, tmp_path):
    """The check compares what the file does, not what was meant."""
    other = save(lively_model("tiny", seed=1), tmp_path / "other.pt")
    monkeypatch.setattr(exporting, "run_exporter", lambda *_, **__: shutil.copy(fixed.path, tmp_path / "tiny.onnx"))
    with pytest.raises(CheckFailedError, match="is not written"):
        export(ExportOptions(weights=other, imgsz=(192, 320), out=tmp_path / "out", images=(pictures,)))
    assert not (tmp_path / "out").exists()


def test_full_disk_is_one_clear_error(weights, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "run_exporter", full)
    with pytest.raises(DiskFullError, match="disk full"):
        export(ExportOptions(weights=weights, out=tmp_path / "out", prove=False))


def test_unknown_setting_names_the_closest(weights):
    with pytest.raises(ConfigError, match="did you mean 'simplify'"):
        export(ExportOptions(weights=weights, prove=False, settings={"simplfy": "false"}))


def test_setting_with_a_flag_of_its_own(weights):
    with pytest.raises(ConfigError, match="--max-det"):
        export(ExportOptions(weights=weights, prove=False, settings={"max_det": "5"}))


def test_missing_converter_is_named(weights, tmp_path):
    with pytest.raises(MissingPackageError, match="paddle"):
        export(ExportOptions(weights=weights, format=("paddle",), out=tmp_path, prove=False))


def test_no_images_to_check_on(weights, tmp_path):
    with pytest.raises(DataNotFoundError, match="no images"):
        export(ExportOptions(weights=weights, images=(tmp_path,)))


def test_out_of_another_format(weights, fixed, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "run_exporter", lambda *_, **__: shutil.copy(fixed.path, tmp_path / "tiny.onnx"))
    with pytest.raises(ConfigError, match=r"ending in \.onnx"):
        export(ExportOptions(weights=weights, out=tmp_path / "model.engine", prove=False))


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
    found = compare_boxes(ROW, other, scale=0.5, reach_px=1.0)
    assert (found.boxes, found.missing, found.box_px) == (1, 0, 1.0)
    assert found.score == pytest.approx(0.1)
    assert compare_boxes(ROW, other, reach_px=1.0).missing == 2


def test_of_boxes_at_one_place_the_scores_tell_which_is_which():
    rows = np.array([[10, 10, 30, 30, 0.9, 1], [10.2, 10, 30, 30, 0.3, 1]], np.float32)
    other = rows[::-1] + np.array([0.1, 0, 0, 0, 0, 0], np.float32)
    found = compare_boxes(rows, other, reach_px=1.0)
    assert (found.boxes, found.missing, found.score) == (2, 0, 0.0)
    assert found.box_px == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize("change", [[0, 0, 0, 0, 0, 1], [50, 50, 50, 50, 0, 0]])
def test_box_of_another_class_or_place_has_no_counterpart(change):
    found = compare_boxes(ROW, ROW + np.array(change, np.float32), reach_px=1.0)
    assert (found.boxes, found.missing) == (0, 2)


def test_weak_box_may_be_missing():
    assert compare_boxes(ROW, ROW[:0], threshold=0.95, reach_px=1.0).missing == 0
    assert compare_boxes(ROW[:0], ROW, threshold=0.5, reach_px=1.0).missing == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_a_shuffled_copy_agrees_wholly(count, seed):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 500, (count, 2))
    rows = np.column_stack([corner, corner + random.uniform(5, 50, (count, 2)), random.random(count), random.integers(0, 3, count)])
    found = compare_boxes(rows, rows[random.permutation(count)], reach_px=1.0)
    assert (found.boxes, found.missing, found.box_px, found.score) == (count, 0, 0.0, 0.0)


def test_candidates_are_compared_one_by_one():
    reference = np.array([[5, 5, 2, 2, 0.9, 0.1], [7, 7, 2, 2, 0.01, 0.02]])
    other = reference + np.array([[0.5, 0, 0, 0, 0, 0], [90, 0, 0, 0, 0.3, 0]])
    found = compare_candidates(reference, other, lowest_score=0.25)
    assert (found.boxes, found.box_px) == (2, 90.0)
    assert found.score == pytest.approx(0.3)
    assert compare_candidates(reference, reference[:1], lowest_score=0.25).missing == 3
    assert compare_candidates(reference, reference * np.nan, lowest_score=0.25).score == np.inf


def test_the_300_best_candidates_are_compared_however_low_they_score():
    reference = np.zeros((1000, 5))
    reference[:, 4] = np.linspace(1e-3, 1e-6, 1000)
    other = reference.copy()
    other[299, 0] += 5
    other[300, 1] += 50
    found = compare_candidates(reference, other, lowest_score=0.25)
    assert (found.boxes, found.box_px, found.score) == (300, 5.0, 0.0)
    assert compare_candidates(reference, other, lowest_score=0.0).box_px == 50


class Answers:
    """Stands in for a runtime: candidates that follow the image's brightness as far as ``strength`` says."""

    chooses, conf, imgsz_hw = False, 0.25, (64, 64)

    def __init__(self, strength: float, offset: float = 0.0):
        self.strength, self.offset = strength, offset

    def candidates(self, image: np.ndarray) -> np.ndarray:
        grid = np.arange(400.0)[:, None] * [[1, 1, 0, 0, 1e-4]]
        return grid + self.strength * image.mean() * np.array([1, 1, 1, 1, 1e-3]) + self.offset


@pytest.mark.parametrize(("strength", "offset", "tells"), [(1e-2, 1e-4, True), (1e-6, 1e-4, False), (0.0, 0.0, False)])
def test_a_comparison_tells_only_where_the_weights_see_their_images(strength, offset, tells):
    """Weights that were never trained answer every image alike; a file that ignores its input is then as close as a good one."""
    images = [np.full((64, 64, 3), value, np.uint8) for value in (10, 200)]
    found = compare_runtimes(Answers(strength), Answers(strength, offset), images, tolerance_px=1.0, tolerance_score=0.02)
    assert (found.images, found.tells) == (2, tells)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1.0), st.integers(0, 2**32 - 1))
def test_a_file_that_ignores_its_input_never_tells(strength, seed):
    images = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)]
    blind = Answers(0.0, offset=strength * 114)
    assert not compare_runtimes(Answers(strength), blind, images, tolerance_px=1e9, tolerance_score=1.0).tells
