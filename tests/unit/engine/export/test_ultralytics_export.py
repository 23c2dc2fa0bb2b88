"""Ultralytics' exporter: no network, no installing, quiet, and with errors that say what to do."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lively_weights import lively_model
from ultralytics.utils import LOGGER, checks
from ultralytics.utils.export import ncnn as ncnn_export
from ultralytics.utils.torch_utils import TORCH_2_9

from yolo_ema.engine.export import ultralytics_export
from yolo_ema.engine.export.ultralytics_export import install_line, run_exporter
from yolo_ema.errors import ConfigError, DiskFullError, MachineError, MissingPackageError
from yolo_ema.io.atomic_files import disk_full_is_clear

SETTINGS = {"mode": "export", "imgsz": [64, 96], "device": "cpu", "batch": 1}


@pytest.fixture(scope="module")
def model():
    found = lively_model("tiny")
    found.task = "detect"
    return found


def run(model, name: str, folder: Path, **settings: object) -> Path:
    return run_exporter(
        model,
        name,
        {**SETTINGS, "format": name, **settings},
        folder,
        stem="made",
        entries={"layout": "NCHW"},
    )


@pytest.fixture
def nothing_starts(monkeypatch):
    """No process may be started, so that nothing can be installed."""

    def refuse(*words: object, **_: object):
        raise AssertionError(f"started {words}")

    for name in ("Popen", "run", "check_output", "check_call", "call"):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setattr(os, "system", refuse)


@pytest.mark.parametrize(
    ("name", "package", "line"),
    [
        ("paddle", "x2paddle", r"pip install 'paddlepaddle\S+' 'x2paddle'"),
        ("coreml", "coremltools", r"pip install 'coremltools>=9\.0'"),
        ("mnn", "MNN", r"pip install 'MNN\S+'"),
        pytest.param(
            "executorch",
            "executorch",
            r"pip install 'executorch'",
            marks=pytest.mark.skipif(not TORCH_2_9, reason="ExecuTorch needs torch 2.9"),
        ),
        ("rknn", "rknn", r"pip install .*'rknn-toolkit2\S+'"),
    ],
)
def test_missing_package_is_named_and_not_installed(
    model, tmp_path, nothing_starts, monkeypatch, name, package, line
):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    with pytest.raises(
        MissingPackageError,
        match=f"export to {name} needs the package {package}; install it with: {line}",
    ):
        run(model, name, tmp_path, quantize=16 if name == "rknn" else None)


@pytest.mark.parametrize(
    ("name", "package"), [("onnx", "onnx"), ("openvino", "openvino"), ("ncnn", "pnnx")]
)
def test_missing_package_of_ours_is_named_with_the_extra(
    model, tmp_path, nothing_starts, monkeypatch, name, package
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingPackageError,
        match=rf"export to {name} needs the package {package}; .*'yolo-ema\[{name}\]'",
    ):
        run(model, name, tmp_path)


def test_missing_vendor_compiler_is_reported_in_its_own_words(
    model, tmp_path, nothing_starts, monkeypatch
):
    with pytest.raises(MachineError, match=r"export to ascend failed here: .*CANN"):
        run(model, "ascend", tmp_path)

    def wants_compiler(*_: object) -> None:
        raise ImportError("it needs the maker's compiler")

    monkeypatch.setattr(ultralytics_export.Exporter, "export_torchscript", wants_compiler)
    with pytest.raises(
        MissingPackageError,
        match="export to torchscript is not possible here: it needs the maker's compiler",
    ):
        run(model, "torchscript", tmp_path)


def test_refusal_of_ultralytics_is_a_wrong_setting(model, tmp_path):
    with pytest.raises(ConfigError, match=r"refused by Ultralytics: .*opset"):
        run(model, "torchscript", tmp_path, opset=17)


def test_full_disk_while_converting(model, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ultralytics_export.Exporter, "export_torchscript", full)
    with pytest.raises(DiskFullError, match="disk full"), disk_full_is_clear(tmp_path / "made"):
        run(model, "torchscript", tmp_path)


def test_model_and_logger_are_unchanged_and_nothing_is_printed(model, tmp_path, capfd):
    before, filters = (
        {key: value.clone() for key, value in model.state_dict().items()},
        list(LOGGER.filters),
    )
    for name in ("torchscript", "ncnn"):
        (tmp_path / name).mkdir()
        assert (
            run(model, name, tmp_path / name).name
            == {"ncnn": "made_ncnn_model", "torchscript": "made.torchscript"}[name]
        )
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert LOGGER.filters == filters
    assert capfd.readouterr() == ("", "")


def test_ultralytics_warnings_go_to_stderr(model, tmp_path, monkeypatch, capsys):
    def warns(exporter: object) -> str:
        LOGGER.warning("WARNING ⚠️ the simplifier failed")
        LOGGER.warning("Ultralytics requirement ['pnnx==1'] not found, AutoUpdate disabled")
        return str(tmp_path / "made")

    monkeypatch.setattr(ultralytics_export.Exporter, "export_torchscript", warns)
    run(model, "torchscript", tmp_path)
    assert capsys.readouterr() == ("", "export to torchscript: the simplifier failed\n")


def test_ncnn_file_with_pytorch_operators_is_refused(model, tmp_path, monkeypatch):
    def leaves_one(exporter: object) -> str:
        (tmp_path / "model.ncnn.param").write_text(
            "7767517\n3 3\nInput in0 0 1 in0\nConvolution c 1 1 in0 1 0=16\naten::group_norm g 1 1 "
            "1 2\nSigmoid s 1 1 2 out0\n"
        )
        return str(tmp_path)

    monkeypatch.setattr(ultralytics_export.Exporter, "export_ncnn", leaves_one)
    with pytest.raises(MachineError, match=r"pnnx does not know aten::group_norm"):
        run(model, "ncnn", tmp_path)


def test_install_lines():
    assert install_line("ncnn", ["pnnx"]) == "pip install 'yolo-ema[ncnn]'"
    assert install_line("paddle", ["a>=1", "b"]) == "pip install 'a>=1' 'b'"


# Assumptions about Ultralytics' inside: what the words above are read from.


def test_ultralytics_names_unmet_requirements_as_a_list_in_its_log(caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "AUTOINSTALL", False)
        LOGGER.addHandler(caplog.handler)
        try:
            assert not checks.check_requirements(["no-such-package>=9", "numpy<1"])
        finally:
            LOGGER.removeHandler(caplog.handler)
    found = ultralytics_export._UNMET.search(caplog.records[0].getMessage())
    assert ast.literal_eval(found[1]) == ["no-such-package>=9", "numpy<1"]


def test_ultralytics_converts_to_ncnn_in_this_process(nothing_starts, monkeypatch, tmp_path):
    """What it writes is captured, and what it starts is refused, in this process alone."""
    converted = []
    pnnx = SimpleNamespace(
        __version__="0", export=lambda model, **settings: converted.append((model, settings))
    )
    monkeypatch.setitem(sys.modules, "pnnx", pnnx)
    monkeypatch.setitem(sys.modules, "ncnn", SimpleNamespace(__version__="0"))
    monkeypatch.setattr(checks, "check_requirements", lambda *_, **__: True)
    ncnn_export.torch2ncnn("the model", "its input", tmp_path / "made")
    ((model, settings),) = converted
    assert (model, settings["inputs"]) == ("the model", "its input")
    assert settings["ncnnparam"] == (tmp_path / "made/model.ncnn.param").as_posix()
