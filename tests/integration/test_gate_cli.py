"""``yolo-ema verify`` and the proof of ``yolo-ema export`` as a user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import faulty_files as faults
import pytest
from lively_weights import lively_model, picture, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Weights, a good file of theirs, and 20 images."""
    from yolo_ema.engine.export.exporting import export_artifact
    from yolo_ema.engine.weights.loading import load_model
    from yolo_ema.options.export import ExportOptions

    place = tmp_path_factory.mktemp("verify")
    weights = save(lively_model("tiny"), place / "tiny.pt")
    (place / "photos").mkdir()
    for seed in range(20):
        cv2.imwrite(str(place / "photos" / f"{seed:02}.png"), picture(seed))
    (place / "made").mkdir()
    made = export_artifact(
        "onnx",
        ExportOptions(weights=weights, imgsz=(192, 320)),
        load_model(weights),
        place / "made",
    )
    shutil.copy(made.path, place / "tiny.onnx")
    return place


VERIFY = ("--weights", "tiny.pt", "--images", "photos")


@pytest.mark.slow
def test_good_file_passes_with_a_table_and_a_report(folder, yolo_ema_command, tmp_path):
    done = yolo_ema_command(
        "verify", "tiny.onnx", *VERIFY, "--report", tmp_path / "proof.json", cwd=folder
    )
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "tiny.onnx: passed"
    assert "crowded, " in done.out
    report = json.loads((tmp_path / "proof.json").read_text())
    assert report["status"] == "passed"
    assert {case["case"].split(",")[0].split(" of ")[0] for case in report["cases"]} >= {
        "batch 1",
        "crowded",
        "tiles",
    }
    assert report["cases"][0]["boxes"] >= 500
    assert report["cases"][0]["images"] >= 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("surgery", "says"),
    [
        (faults.scaled_convolution(8), "as if a convolution were scaled"),
        (
            faults.swapped_names(3, 4),
            "class names are swapped in the file: 3 is 'class 4' instead of 'class 3'",
        ),
        (faults.expects_bgr, "the file expects BGR"),
        (faults.expects_bytes, "the file expects pixels of 0…255"),
        (faults.loses_proposals(960), "the file drops detections"),
    ],
    ids=["scaled", "names", "bgr", "bytes", "dropped"],
)
def test_fault_is_refused_with_its_reason(folder, yolo_ema_command, tmp_path, surgery, says):
    bad = faults.spoilt(folder / "tiny.onnx", tmp_path / "bad.onnx", surgery)
    done = yolo_ema_command("verify", bad, *VERIFY, "--json", cwd=folder)
    assert done.code == 7, done.err
    assert done.json["status"] == "failed"
    assert any(says in reason for reason in done.json["reasons"]), done.json["reasons"]


@pytest.mark.slow
def test_truncated_file_and_file_of_other_weights(folder, yolo_ema_command, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((folder / "tiny.onnx").read_bytes()[:20_000])
    done = yolo_ema_command("verify", cut, *VERIFY, cwd=folder)
    assert (done.code, done.out.splitlines()[0]) == (7, "cut.onnx: failed")
    assert "the file cannot be read" in done.out
    save(lively_model("tiny", seed=1), tmp_path / "other.pt")
    done = yolo_ema_command(
        "verify", "tiny.onnx", "--weights", tmp_path / "other.pt", "--images", "photos", cwd=folder
    )
    assert done.code == 7
    assert "made from other weights" in done.out


@pytest.mark.slow
def test_missing_file_and_invalid_flags_have_their_exit_codes(folder, yolo_ema_command):
    done = yolo_ema_command("verify", "tinny.onnx", *VERIFY, cwd=folder)
    assert (done.code, done.out) == (4, "")
    assert "did you mean 'tiny.onnx'" in done.err
    done = yolo_ema_command("verify", "tiny.onnx", *VERIFY, "--accept", cwd=folder)
    assert done.code == 2


@pytest.mark.slow
def test_export_without_proof_then_verify_accepts(folder, yolo_ema_command, tmp_path):
    export = ("export", "--weights", "tiny.pt", "--imgsz", "192,320", "--out", tmp_path)
    done = yolo_ema_command(*export, "--no-prove", cwd=folder)
    assert done.code == 0, done.err
    assert [file.name for file in tmp_path.iterdir()] == ["tiny-unproven.onnx"]
    done = yolo_ema_command(
        "verify", tmp_path / "tiny-unproven.onnx", *VERIFY, "--accept", cwd=folder
    )
    assert done.code == 0, done.out
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


@pytest.mark.slow
def test_export_that_is_not_proven_writes_nothing(folder, yolo_ema_command, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(folder / "photos/00.png", few)
    done = yolo_ema_command(
        "export", "--weights", "tiny.pt", "--images", few, "--out", tmp_path / "out", cwd=folder
    )
    assert done.code == 7
    assert "1 images are too few; expected at least 20" in done.err
    assert not (tmp_path / "out").exists()
