"""One artifact: what is asked of the exporter, where the file goes, and how it gets there whole."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lively_weights import tiny_model

from yolo_ema.engine.export import artifact_files, artifact_metadata, exporting
from yolo_ema.engine.export.artifact_files import final_path, publish
from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.errors import ConfigError, DiskFullError, MachineError
from yolo_ema.options.export import ExportOptions


@pytest.fixture
def asked(monkeypatch) -> dict[str, Any]:
    """What the exporter was asked for; it makes a file of five bytes."""
    found: dict[str, Any] = {}

    def run(
        _model: object, name: str, settings: dict, folder: Path, *, stem: str, entries: dict
    ) -> Path:
        found.update(settings, name=name, stem=stem, entries=entries)
        if settings.get("data"):
            found["calibrated on"] = sorted(
                path.name for path in (Path(settings["data"]).parent / "images").iterdir()
            )
        made = folder / f"{stem}.{name}"
        made.write_bytes(b"whole")
        return made

    monkeypatch.setattr(exporting, "run_exporter", run)
    return found


@pytest.fixture
def weights(tmp_path) -> Path:
    (tmp_path / "best.pt").write_bytes(b"weights")
    return tmp_path / "best.pt"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


LOADED = LoadedModel(tiny_model(), {0: "car"}, 32, 320, {})


@pytest.mark.parametrize(
    ("imgsz", "expected"),
    [
        ((), (320, 320)),
        ((640,), (640, 640)),
        ((384, 640), (384, 640)),
        ((370, 640), (384, 640)),
        ((33,), (64, 64)),
    ],
)
def test_input_size_is_raised_to_the_stride_with_a_notice(
    weights, folder, asked, capsys, imgsz, expected
):
    made = export_artifact("onnx", ExportOptions(weights=weights, imgsz=imgsz), LOADED, folder)
    assert made.imgsz_hw == expected
    assert asked["imgsz"] == list(expected)
    said = capsys.readouterr().err
    raised = bool(imgsz) and (imgsz[0], imgsz[-1]) != expected
    assert ("is rounded up to" in said) == raised
    if raised:
        assert f"{expected[0]},{expected[1]}, multiples of the stride 32" in said


def test_what_the_user_sets_reaches_the_exporter(weights, folder, asked):
    options = ExportOptions(
        weights=weights,
        dynamic=True,
        batch=4,
        nms=True,
        conf=0.1,
        iou=0.6,
        max_det=500,
        quantize="fp16",
        settings={"opset": "17"},
    )
    made = export_artifact("onnx", options, LOADED, folder)
    expected = {
        "dynamic": True,
        "batch": 4,
        "nms": True,
        "conf": 0.1,
        "iou": 0.6,
        "max_det": 500,
        "quantize": 16,
        "opset": 17,
    }
    assert {key: asked[key] for key in expected} == expected
    assert (asked["stem"], asked["data"], asked["device"]) == ("best-fp16", None, "cpu")
    assert asked["entries"]["precision"] == "fp16"
    assert (made.path, made.dynamic, made.batch, made.quantize) == (
        folder / "best-fp16.onnx",
        True,
        4,
        "fp16",
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"simplfy": "false"}, "did you mean 'simplify'"),
        ({"max_det": "5"}, "--max-det"),
        ({"half": "true"}, "--quantize"),
        ({"quantize": "8"}, "--quantize"),
        ({"format": "onnx"}, "--format"),
        ({"model": "x.pt"}, "--weights"),
        ({"data": "coco8.yaml"}, "--data"),
    ],
)
def test_settings_that_are_unknown_or_have_a_flag(weights, folder, asked, settings, says):
    with pytest.raises(ConfigError, match=says):
        export_artifact("onnx", ExportOptions(weights=weights, settings=settings), LOADED, folder)
    assert not asked


def test_further_precisions_of_ultralytics_pass(weights, folder, asked):
    export_artifact(
        "litert", ExportOptions(weights=weights, settings={"quantize": "w8a32"}), LOADED, folder
    )
    assert asked["quantize"] == "w8a32"


def test_full_disk_is_one_clear_error(weights, folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "run_exporter", full)
    with pytest.raises(DiskFullError, match="disk full"):
        export_artifact("onnx", ExportOptions(weights=weights), LOADED, folder)


@pytest.mark.parametrize(("free", "error"), [(4096, DiskFullError), (1 << 30, MachineError)])
def test_converter_that_hides_a_full_disk(weights, folder, monkeypatch, free, error):
    """OpenVINO ends with these words."""

    def fails(*_: object, **__: object) -> None:
        raise MachineError("export to openvino failed here: basic_ios::clear: iostream error")

    monkeypatch.setattr(exporting, "run_exporter", fails)
    monkeypatch.setattr(
        exporting.shutil, "disk_usage", lambda _: types.SimpleNamespace(total=free, free=free)
    )
    with pytest.raises(MachineError) as caught:
        export_artifact("openvino", ExportOptions(weights=weights), LOADED, folder)
    assert type(caught.value) is error
    assert caught.value.exit_code == 6


# int8


def test_int8_of_other_formats_is_calibrated_on_copies_of_the_users_images(weights, folder, asked):
    for number in range(3):
        (weights.parent / f"{number}.JPG").write_bytes(b"image")
    options = ExportOptions(
        weights=weights, quantize="int8", calibrate=(weights.parent,), calibration_images=2
    )
    made = export_artifact("saved_model", options, LOADED, folder)
    assert (asked["quantize"], asked["stem"]) == (8, "best-int8")
    assert asked["calibrated on"] == ["000000.jpg", "000001.jpg"]
    assert [path.name for path in folder.iterdir()] == [made.path.name]  # the copies are gone
    export_artifact("qnn", options, LOADED, folder)
    assert asked["quantize"] == "w8a16"  # the one precision that it knows


def test_int8_of_onnx_and_openvino_is_made_from_the_float_file(weights, folder, asked, monkeypatch):
    (weights.parent / "a.png").write_bytes(b"image")
    seen: dict[str, Any] = {}

    def calibration_inputs(
        files: list[Path], imgsz_hw: tuple[int, int], most: int
    ) -> list[np.ndarray]:
        seen.update(files=files, imgsz_hw=imgsz_hw, most=most)
        return [np.zeros((1, 3, *imgsz_hw), np.float32)]

    def quantize_int8(exact: Path, name: str, inputs: list, *, out: Path) -> Path:
        seen.update(exact=exact.read_bytes(), format=name, inputs=len(inputs))
        out.write_bytes(b"int8")
        return out

    module = types.SimpleNamespace(
        calibration_inputs=calibration_inputs, quantize_int8=quantize_int8
    )
    monkeypatch.setitem(sys.modules, "yolo_ema.engine.export.quantization", module)
    monkeypatch.setattr(artifact_metadata, "read_entries", lambda path: {"of": path.name})
    monkeypatch.setattr(
        artifact_metadata,
        "write",
        lambda path, name, entries: seen.update(written=(path.name, name, entries)),
    )
    options = ExportOptions(
        weights=weights,
        imgsz=(96, 128),
        quantize="int8",
        calibrate=(weights.parent,),
        calibration_images=9,
    )
    made = export_artifact("onnx", options, LOADED, folder)
    assert (made.path.name, made.path.read_bytes(), made.quantize) == (
        "best-int8.onnx",
        b"int8",
        "int8",
    )
    assert (asked["quantize"], asked["entries"]["precision"]) == (None, "int8")
    assert seen == {
        "files": [weights.parent / "a.png"],
        "imgsz_hw": (96, 128),
        "most": 9,
        "exact": b"whole",
        "format": "onnx",
        "inputs": 1,
        "written": ("best-int8.onnx", "onnx", {"of": "best-int8.onnx"}),
    }
    assert [path.name for path in folder.iterdir()] == ["best-int8.onnx"]


# where the file goes


@pytest.mark.parametrize(
    ("made", "out", "expected"),
    [
        ("best.onnx", None, "weights/best.onnx"),
        ("best.onnx", "there", "there/best.onnx"),
        ("best.onnx", "there/other.onnx", "there/other.onnx"),
        ("best_openvino_model", None, "weights/best_openvino_model"),
        ("best_openvino_model", "there", "there/best_openvino_model"),
        ("best_openvino_model", "there/other_openvino_model", "there/other_openvino_model"),
        ("best_ncnn_model", "folder.v2", "folder.v2/best_ncnn_model"),
    ],
)
def test_where_a_file_goes(tmp_path, made, out, expected):
    (tmp_path / "folder.v2").mkdir()
    options = ExportOptions(
        weights=tmp_path / "weights/best.pt", out=tmp_path / out if out else None
    )
    assert final_path(tmp_path / made, options) == tmp_path / expected


@pytest.mark.parametrize(
    ("made", "says"),
    [("best.onnx", r"ending in \.onnx"), ("best_ncnn_model", "ending in _ncnn_model")],
)
def test_out_of_another_format(made, says):
    with pytest.raises(ConfigError, match=says):
        final_path(Path(made), ExportOptions(weights=Path("best.pt"), out=Path("best.engine")))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_published_atomically_in_place_of_the_old(tmp_path, kind):
    made, final = tmp_path / "made", tmp_path / "new" / "final"
    for content in (b"one", b"two"):
        if kind == "file":
            made.write_bytes(content)
        else:
            made.mkdir(exist_ok=True)
            (made / content.decode()).write_bytes(content)
        publish(made, final)
        if kind == "folder":
            assert (final / content.decode()).read_bytes() == content
            (made / content.decode()).unlink()
    assert [path.name for path in final.parent.iterdir()] == ["final"]
    assert (
        final.read_bytes() == b"two"
        if kind == "file"
        else [path.name for path in final.iterdir()] == ["two"]
    )


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_full_disk_while_publishing_leaves_the_old(tmp_path, monkeypatch, kind):
    made, final = tmp_path / "made", tmp_path / "final"
    for place in (made, final):
        if kind == "folder":
            place.mkdir()
        (place if kind == "file" else place / "model.bin").write_bytes(place.name.encode())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact_files.shutil, "copyfile", full)
    with pytest.raises(DiskFullError, match="intact"):
        publish(made, final)
    assert (final if kind == "file" else final / "model.bin").read_bytes() == b"final"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "made"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"imgsz": (640, 640, 640)}, "--imgsz"),
        ({"imgsz": (16,)}, "--imgsz"),
        ({"batch": 0}, "--batch"),
        ({"conf": 2.0}, "--conf"),
        ({"max_ap_loss": -1.0}, "--max-ap-loss"),
        ({"format": ("onxx",)}, "onxx.*did you mean 'onnx'"),
        ({"format": ()}, "--format"),
        ({"format": ("onnx", "openvino"), "out": Path("a.onnx")}, "folder"),
        ({"quantize": "fp61"}, "did you mean 'fp16'"),
        ({"quantize": "int8"}, "give --data or --calibrate; none are downloaded"),
        ({"calibrate": (Path("images"),)}, "--calibrate is for --quantize int8"),
    ],
)
def test_options_check_themselves(wrong, says):
    with pytest.raises(ConfigError, match=says):
        ExportOptions(weights=Path("w.pt"), **wrong)
