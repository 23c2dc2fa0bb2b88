"""Exported files give the same numbers in our own runtimes as through Ultralytics' backend."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save
from ultralytics.nn.autobackend import AutoBackend

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.prediction.torch_predictor import TorchPredictor, open_predictor
from yolo_ema.engine.setup.environment import quiet_log
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import ConfigError
from yolo_ema.inference import openvino_backend
from yolo_ema.inference.exported import ExportedPredictor, runs_exported
from yolo_ema.inference.onnx_backend import OnnxBackend
from yolo_ema.inference.openvino_backend import OpenVinoBackend
from yolo_ema.inference.predictor import PredictorConfig, PredictorSettings
from yolo_ema.io import machine
from yolo_ema.options.export import ExportOptions

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
KINDS = {"onnx": OnnxBackend, "openvino": OpenVinoBackend}
EVERYTHING = PredictorSettings(conf=0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    weights = save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")
    options, loaded = (
        ExportOptions(weights=weights, imgsz=(192,), dynamic=True),
        load_model(weights),
    )
    return {kind: export_artifact(kind, options, loaded, weights.parent).path for kind in KINDS}


def opened(path, **fields):
    return ExportedPredictor(path, PredictorConfig(device="cpu", precision="f32", **fields)).backend


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hw", [(192, 192), (96, 160)])
@pytest.mark.usefixtures("openvino_in_f32")
def test_numbers_are_those_of_ultralytics(files, kind, hw):
    images = [picture(seed, hw[::-1]) for seed in range(2)]
    ours = opened(files[kind])
    assert isinstance(ours, KINDS[kind])
    with quiet_log():
        plain = AutoBackend(str(files[kind]), device=torch.device("cpu"), verbose=False)
    assert (ours.names, ours.stride, ours.dynamic, ours.has_builtin_nms) == (
        plain.names,
        plain.stride,
        True,
        False,
    )
    found = ours(ours.prepare(images), EVERYTHING, 1000)
    for rows, image in zip(found, images, strict=True):
        batch = torch.from_numpy(image[None, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        wanted = np.asarray(plain(batch))[0].T
        np.testing.assert_allclose(rows[:, :4], wanted[:, :4], rtol=0, atol=1e-2)
        np.testing.assert_allclose(rows[:, 4:], wanted[:, 4:], rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_input_can_be_changed_on_its_way(files, kind):
    """What finds a file's fault; OpenVINO then takes the network's own input, not bytes."""
    image = picture(1, (192, 192))
    seen = []

    def swapped(batch):
        seen.append((batch.shape, batch.dtype, float(batch.max()) <= 1))
        return batch[:, ::-1]

    changed, plain = opened(files[kind], input_transform=swapped), opened(files[kind])
    (one,) = changed(changed.prepare([image[:, :, ::-1]]), EVERYTHING, 1000)
    (other,) = plain(plain.prepare([image]), EVERYTHING, 1000)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)
    assert seen == [((1, 3, 192, 192), np.float32, True)]


@pytest.mark.slow
def test_openvino_files_may_be_compiled_for_each_shape(files, monkeypatch):
    """What keeps int8 files of open shape from crashing on processors with AMX, here with a float
    file, which runs either way.
    """
    shapes_wh = [(192, 192), (160, 96), (96, 160), (192, 192)]
    images = [picture(seed, wh) for seed, wh in enumerate(shapes_wh)]
    open_shape = opened(files["openvino"])
    monkeypatch.setattr(openvino_backend, "_amx_would_crash", lambda _: True)
    monkeypatch.setattr(openvino_backend, "_MOST_SHAPES", 2)
    each_shape = opened(files["openvino"])
    assert each_shape.dynamic
    for image in images:
        (one,), (other,) = (
            backend(backend.prepare([image]), EVERYTHING, 1000)
            for backend in (each_shape, open_shape)
        )
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)
        assert len(each_shape._compiled) <= 2
    predictor = open_predictor(files["openvino"], imgsz=(96, 160), device="cpu", precision="f32")
    assert predictor.imgsz_hw == (96, 160)


@pytest.mark.slow
@pytest.mark.parametrize("would_crash", [False, True])
def test_openvino_files_that_do_not_name_their_size_are_read(files, monkeypatch, would_crash):
    read = openvino_backend.yaml_entries
    monkeypatch.setattr(
        openvino_backend,
        "yaml_entries",
        lambda path: {key: value for key, value in read(path).items() if key != "imgsz"},
    )
    monkeypatch.setattr(openvino_backend, "_amx_would_crash", lambda _: would_crash)
    assert open_predictor(files["openvino"], device="cpu").imgsz_hw == (640, 640)


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_openvino_on_arm_takes_the_networks_own_input_in_f32(files, monkeypatch, machine):
    image = picture(1, (192, 192))
    plain = opened(files["openvino"])
    monkeypatch.setattr(openvino_backend.platform, "machine", lambda: machine)
    backend = ExportedPredictor(files["openvino"], PredictorConfig(device="cpu")).backend
    inputs = backend.prepare([image])
    assert (inputs[0].dtype == np.float32) is (machine == "aarch64")
    if machine == "aarch64":
        assert backend.computed == "fp32"
        (one,), (other,) = (
            each(each.prepare([image]), EVERYTHING, 1000) for each in (backend, plain)
        )
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "precision", "asked"),
    [
        ("avx2", "auto", "f32"),
        ("avx512_bf16 avx512_vnni", "auto", "f32"),
        ("avx512_bf16 amx_bf16 amx_tile", "auto", None),  # OpenVINO's own choice: bf16
        ("", "auto", None),  # nothing says
        ("avx512_bf16", "bf16", "bf16"),
        ("avx512_bf16 amx_bf16", "f32", "f32"),
    ],
)
def test_openvino_computes_in_bf16_only_where_the_processor_has_amx(
    files, monkeypatch, tmp_path, flags, precision, asked
):
    import openvino

    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: fpu {flags}\n" if flags else "Features\t: fp asimd\n")
    monkeypatch.setattr(machine, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(openvino_backend.platform, "machine", lambda: "x86_64")
    hints, compile_model = [], openvino.Core.compile_model

    def listen(core, model, device_name, config):
        hints.append((device_name, config.get("INFERENCE_PRECISION_HINT")))
        return compile_model(core, model, device_name, config)

    monkeypatch.setattr(openvino.Core, "compile_model", listen)
    config = PredictorConfig(device="cpu", precision=precision)
    backend = ExportedPredictor(files["openvino"], config).backend
    assert hints == [("CPU", asked)]
    if asked == "f32":
        assert backend.computed == "fp32"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_cut_out_of_others_need_no_copy(files, kind):
    frame = picture(1, (320, 320))
    predictor = open_predictor(files[kind], device="cpu", precision="f32")
    cut = frame[10:202, 20:212]
    np.testing.assert_array_equal(predictor([cut])[0], predictor([cut.copy()])[0])


@pytest.mark.slow
def test_which_files_run_without_torch(files, monkeypatch, tmp_path):
    import onnxruntime

    def runs(path, device):
        return runs_exported(path, PredictorConfig(device=device))

    assert [runs(files[kind], device) for kind in KINDS for device in ("cpu", "auto")] == [True] * 4
    assert not runs(files["onnx"], "cuda")
    (tmp_path / "any.torchscript").touch()
    assert not runs(tmp_path / "any.torchscript", "cpu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert not runs(files["onnx"], "auto")  # a GPU, which is torch's to look for
    assert isinstance(open_predictor(files["onnx"]), ExportedPredictor)  # there is none here
    assert runs(files["openvino"], "auto")
    monkeypatch.setitem(sys.modules, "torch", None)  # an edge installation with onnxruntime-gpu
    assert runs(files["onnx"], "auto")


def test_formats_that_only_ultralytics_runs_go_through_it(tmp_path):
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    options = ExportOptions(weights=weights, imgsz=(64,))
    path = export_artifact("torchscript", options, load_model(weights), tmp_path).path
    assert isinstance(open_predictor(path, device="cpu", trust=True), TorchPredictor)


def test_an_unknown_precision_is_named(tmp_path):
    with pytest.raises(ConfigError, match="f16"):
        open_predictor(tmp_path / "any.pt", precision="f16")
