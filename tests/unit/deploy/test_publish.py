"""``export`` and ``verify`` as functions: nothing gets its name before it is proven."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import faulty_files as faults
import pytest

from yolo_ema.deploy import publish
from yolo_ema.deploy.parity.parity_report import AccuracyDrop, ParityReport
from yolo_ema.deploy.publish import export
from yolo_ema.deploy.verify import verify
from yolo_ema.engine.export.artifact_files import final_name, unproven_path
from yolo_ema.engine.export.exporting import Artifact
from yolo_ema.errors import CheckFailedError, ConfigError, MissingPackageError
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.verify import VerifyOptions

SIZE_HW = (192, 320)


@pytest.fixture
def options(gate_weights, gate_pictures, tmp_path) -> ExportOptions:
    return ExportOptions(
        weights=gate_weights, out=tmp_path / "out", imgsz=SIZE_HW, images=(gate_pictures,)
    )


@pytest.fixture
def exporter_makes(monkeypatch, tmp_path):
    """Return a function after which the exporter makes this file."""

    def fake(file: Path) -> None:
        monkeypatch.setattr(
            publish,
            "export_artifact",
            lambda *_: Artifact("onnx", file, SIZE_HW, False, 1, None, 0.1),
        )

    return fake


def test_proven_file_gets_its_name_and_a_report(good, options, exporter_makes, tmp_path):
    exporter_makes(good)
    result = export(dataclasses.replace(options, report=tmp_path / "proof.json"))
    assert result.path == tmp_path / "out/tiny.onnx"
    assert result.path.read_bytes() == good.read_bytes()
    report = json.loads((tmp_path / "proof.json").read_text())
    assert report == result.as_json()
    assert report["files"][0]["proof"]["status"] == "passed"
    assert "passed: " in result.as_text()
    assert " boxes within " in result.as_text()


def test_rounded_weights_are_reported_with_their_cost(tmp_path):
    drop = AccuracyDrop("visdrone.yaml", images=97, ap=(11.53, 11.48), ap50=(22.39, 22.35))
    file = publish.ExportedFile(
        "onnx",
        tmp_path / "best-int8.onnx",
        3_400_000,
        1.0,
        SIZE_HW,
        ParityReport("passed", (), accuracy_drop=drop),
    )
    assert file.as_text().splitlines()[1] == "  passed: loses 0.05 AP and 0.04 AP50 on 97 images"


def test_refused_file_leaves_the_old_one_and_a_report(good, options, exporter_makes, tmp_path):
    exporter_makes(faults.spoilt(good, tmp_path / "tiny.onnx", faults.expects_bgr))
    options.out.mkdir()
    old = options.out / "tiny.onnx"
    old.write_bytes(b"the old one")
    with pytest.raises(
        CheckFailedError,
        match=r"tiny\.onnx is not written .*the file expects BGR.*proof\.json has the figures",
    ):
        export(dataclasses.replace(options, report=tmp_path / "proof.json"))
    assert old.read_bytes() == b"the old one"
    assert [file.name for file in options.out.iterdir()] == ["tiny.onnx"]
    assert json.loads((tmp_path / "proof.json").read_text())["files"][0]["written"] is False


def test_file_that_cannot_be_run_here_is_written_unproven_only_on_request(
    good, options, exporter_makes, monkeypatch, tmp_path
):
    from yolo_ema.deploy.parity import model_pair

    def fails(*_: object, **__: object) -> None:
        raise MissingPackageError("it needs the package tensorrt")

    exporter_makes(good)
    monkeypatch.setattr(model_pair, "open_predictor", fails)
    with pytest.raises(
        CheckFailedError,
        match=r"because it is not proven: .*cannot be run on this machine.*tensorrt.*--no-prove",
    ):
        export(options)
    assert not options.out.exists()
    result = export(dataclasses.replace(options, prove=False))
    assert result.path == options.out / "tiny-unproven.onnx"
    assert result.as_json()["files"][0]["proof"] is None
    assert "not proven" in result.as_text()


@pytest.mark.slow
def test_one_refused_format_does_not_block_the_others(good, options, monkeypatch, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    made = {
        "onnx": good,
        "openvino": faults.spoilt(good, bad / "tiny.onnx", faults.swapped_names(0, 1)),
    }
    monkeypatch.setattr(
        publish,
        "export_artifact",
        lambda name, *_: Artifact(name, made[name], SIZE_HW, False, 1, None, 0.1),
    )
    with pytest.raises(CheckFailedError, match="class names are swapped"):
        export(dataclasses.replace(options, format=("onnx", "openvino")))
    assert (options.out / "tiny.onnx").read_bytes() == good.read_bytes()


def test_verify_accepts_what_it_proved(good, gate_weights, gate_pictures, tmp_path):
    waiting, final = tmp_path / "tiny-unproven.onnx", tmp_path / "tiny.onnx"
    waiting.write_bytes(good.read_bytes())
    final.write_bytes(b"the old one")
    options = VerifyOptions(
        artifact=waiting, weights=gate_weights, images=(gate_pictures,), accept=True
    )
    result = verify(options)
    assert (result.exit_code, result.accepted) == (0, final)
    assert final.read_bytes() == good.read_bytes()
    assert not waiting.exists()


def test_verify_leaves_what_it_refuses(good, gate_weights, gate_pictures, tmp_path):
    waiting = faults.spoilt(good, tmp_path / "tiny-unproven.onnx", faults.expects_bytes)
    result = verify(
        VerifyOptions(artifact=waiting, weights=gate_weights, images=(gate_pictures,), accept=True)
    )
    assert (result.exit_code, result.accepted) == (7, None)
    assert waiting.exists()
    assert not (tmp_path / "tiny.onnx").exists()


@pytest.mark.parametrize(
    ("final", "unproven"),
    [
        ("best.onnx", "best-unproven.onnx"),
        ("best-int8_openvino_model", "best-int8-unproven_openvino_model"),
        ("best_saved_model", "best-unproven_saved_model"),
        ("best_edgetpu.tflite", "best-unproven_edgetpu.tflite"),
        ("best.mlpackage", "best-unproven.mlpackage"),
    ],
)
def test_names_keep_what_identifies_a_format(final, unproven):
    assert unproven_path(Path("a") / final) == Path("a") / unproven
    assert final_name(Path("a") / unproven) == Path("a") / final


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"accept": True}, "a.onnx has none"),
        ({"tolerance_px": -1.0}, "--tolerance-px"),
        ({"tolerance_score": 2.0}, "--tolerance-score"),
        ({"max_ap50_loss": -1.0}, "--max-ap50-loss"),
        ({"report": Path()}, "--report"),
        ({"report": Path("w.pt")}, "--report is w.pt; expected a name that ends in .json"),
        ({"tolerance_px": float("inf")}, "--tolerance-px is inf; expected a finite number"),
    ],
)
def test_verify_options_check_themselves(wrong, says):
    with pytest.raises(ConfigError, match=says):
        VerifyOptions(artifact=Path("a.onnx"), weights=Path("w.pt"), **wrong)
