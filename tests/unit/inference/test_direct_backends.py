"""Exported files give the same numbers on the short way as through Ultralytics' backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.backends.base import BaseBackend

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.prediction.runtime import Runtime
from yolo_ema.engine.setup.environment import quiet_ultralytics
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import ConfigError
from yolo_ema.inference.exported_backends import OnnxBackend, OpenVinoBackend, direct_backend
from yolo_ema.options.export import ExportOptions

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
CPU = torch.device("cpu")
KINDS = {"onnx": OnnxBackend, "openvino": OpenVinoBackend}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    weights = save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")
    options, loaded = (
        ExportOptions(weights=weights, imgsz=(192,), dynamic=True),
        load_model(weights),
    )
    return {kind: export_artifact(kind, options, loaded, weights.parent).path for kind in KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hw", [(192, 192), (96, 160)])
@pytest.mark.usefixtures("openvino_in_f32")
def test_numbers_are_those_of_ultralytics(files, kind, hw):
    images = [picture(seed, hw[::-1]) for seed in range(2)]
    direct = direct_backend(kind, files[kind], CPU, "f32")
    assert isinstance(direct, KINDS[kind])
    with quiet_ultralytics():
        plain = AutoBackend(str(files[kind]), device=CPU, verbose=False)
    assert (direct.names, direct.stride, direct.dynamic, direct.end2end) == (
        plain.names,
        plain.stride,
        True,
        False,
    )
    found = direct(direct.prepare(images), 0.0)
    for one, image in zip(found, images, strict=True):
        batch = torch.from_numpy(image[None, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        wanted = np.asarray(plain(batch))
        np.testing.assert_allclose(one[:, :4], wanted[:, :4], rtol=0, atol=1e-2)
        np.testing.assert_allclose(one[:, 4:], wanted[:, 4:], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_openvino_files_may_be_compiled_for_each_shape(files, monkeypatch):
    """What keeps int8 files of open shape from crashing on processors with AMX, here with a float
    file, which runs either way.
    """
    shapes_wh = [(192, 192), (160, 96), (96, 160), (192, 192)]
    images = [picture(seed, wh) for seed, wh in enumerate(shapes_wh)]
    open_shape = direct_backend("openvino", files["openvino"], CPU, "f32")
    monkeypatch.setattr("yolo_ema.inference.exported_backends._amx_would_crash", lambda _: True)
    monkeypatch.setattr("yolo_ema.inference.exported_backends._MOST_SHAPES", 2)
    each_shape = direct_backend("openvino", files["openvino"], CPU, "f32")
    assert each_shape.dynamic
    for image in images:
        (one,), (other,) = (
            backend(backend.prepare([image]), 0.0) for backend in (each_shape, open_shape)
        )
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
        assert len(each_shape._compiled) <= 2
    runtime = Runtime(files["openvino"], imgsz=(96, 160), device="cpu", precision="f32")
    assert runtime.imgsz_hw == (96, 160)


@pytest.mark.slow
@pytest.mark.parametrize("would_crash", [False, True])
def test_openvino_files_that_do_not_name_their_size_are_read(files, monkeypatch, would_crash):
    read = BaseBackend.read_metadata
    without = staticmethod(
        lambda path: {key: value for key, value in read(path).items() if key != "imgsz"}
    )
    monkeypatch.setattr("yolo_ema.inference.exported_backends.BaseBackend.read_metadata", without)
    monkeypatch.setattr(
        "yolo_ema.inference.exported_backends._amx_would_crash", lambda _: would_crash
    )
    assert isinstance(direct_backend("openvino", files["openvino"], CPU, "f32"), OpenVinoBackend)
    assert Runtime(files["openvino"], device="cpu").imgsz_hw == (640, 640)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_cut_out_of_others_need_no_copy(files, kind):
    frame = picture(1, (320, 320))
    runtime = Runtime(files[kind], device="cpu", precision="f32")
    cut = frame[10:202, 20:212]
    np.testing.assert_array_equal(runtime([cut])[0], runtime([cut.copy()])[0])


@pytest.mark.slow
def test_what_is_foreign_goes_the_long_way(files, monkeypatch):
    assert direct_backend("onnx", files["onnx"], torch.device("cuda:0"), "auto") is None
    assert direct_backend("torchscript", files["onnx"], CPU, "auto") is None
    monkeypatch.setattr(OnnxBackend, "read_metadata", staticmethod(lambda _: {}))
    monkeypatch.setattr(
        "yolo_ema.inference.exported_backends.BaseBackend.read_metadata", staticmethod(lambda _: {})
    )
    assert direct_backend("onnx", files["onnx"], CPU, "auto") is None


def test_an_unknown_precision_is_named(tmp_path):
    with pytest.raises(ConfigError, match="f16"):
        Runtime(tmp_path / "any.pt", precision="f16")
