"""Int8 files: what is quantized, what stays in float, on which images, and that the files run."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from lively_weights import lively_model, picture, save
from ultralytics.data.augment import LetterBox

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.export.quantization import (
    FLOAT_PARTS,
    calibration_inputs,
    float_nodes,
    quantize_int8,
)
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import ConfigError, DataNotFoundError, MissingPackageError
from yolo_ema.options.export import ExportOptions

onnx = pytest.importorskip("onnx")
HW = (64, 96)
EMA_LAYER, HEAD_LAYER = 3, 6  # of the tiny model


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    files = [folder / f"{index}.png" for index in range(5)]
    for index, file in enumerate(files):
        cv2.imwrite(str(file), picture(index, (96, 64)))
    return files


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")


def exact(weights: Path, format_name: str) -> Path:
    options = ExportOptions(weights=weights, format=(format_name,), imgsz=HW, prove=False)
    return export_artifact(format_name, options, load_model(weights), weights.parent).path


@pytest.fixture(scope="module")
def onnx_file(weights) -> Path:
    pytest.importorskip("onnxruntime")
    return exact(weights, "onnx")


@pytest.fixture(scope="module")
def int8_file(onnx_file, images, tmp_path_factory) -> Path:
    inputs = calibration_inputs(images, HW, 5)
    return quantize_int8(
        onnx_file, "onnx", inputs, out=tmp_path_factory.mktemp("int8") / "tiny.onnx"
    )


def weight_scales(file: Path) -> dict[str, np.ndarray | None]:
    """The scale of each convolution's weights, and None for one in float."""
    graph = onnx.load(file).graph
    makers = {output: node for node in graph.node for output in node.output}
    values = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    found: dict[str, np.ndarray | None] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            maker = makers.get(node.input[1])
            found[node.name] = (
                values[maker.input[1]]
                if maker is not None and maker.op_type == "DequantizeLinear"
                else None
            )
            if maker is not None:
                assert not values[maker.input[2]].any(), "weights are quantized symmetrically"
    return found


def layer(name: str) -> int:
    return int(re.search(r"model\.(\d+)", name).group(1))


def test_weights_have_a_scale_for_each_output_channel(int8_file):
    graph = onnx.load(int8_file).graph
    scales = [scale for scale in weight_scales(int8_file).values() if scale is not None]
    assert scales
    assert all(scale.ndim == 1 and scale.size >= 10 for scale in scales)
    assert len(np.unique(scales[0])) > 1
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}


@pytest.mark.parametrize("keep", [(), ("ema",), ("head",), FLOAT_PARTS], ids=str)
def test_the_named_parts_stay_in_float(onnx_file, images, tmp_path, keep):
    made = quantize_int8(
        onnx_file,
        "onnx",
        calibration_inputs(images, HW, 1),
        out=tmp_path / "made.onnx",
        keep_float=keep,
    )
    scales = weight_scales(made)
    ema = [name for name in scales if layer(name) == EMA_LAYER]
    answers = [
        name for name in scales if layer(name) == HEAD_LAYER and re.search(r"cv[23]\.\d\.2/", name)
    ]
    others = [name for name in scales if name not in ema + answers and "dfl" not in name]
    assert (len(ema), len(answers)) == (3, 6)
    assert all((scales[name] is None) == ("ema" in keep) for name in ema)
    assert all((scales[name] is None) == ("head" in keep) for name in answers)
    assert all(scales[name] is not None for name in others)
    assert [name for name in scales if "dfl" in name and scales[name] is None]


def test_it_runs_and_gives_nearly_the_same_candidates(onnx_file, int8_file, images):
    picked = {"device": "cpu", "rectangular": False}
    ours, theirs = open_predictor(int8_file, **picked), open_predictor(onnx_file, **picked)
    assert ours.names == theirs.names
    image = cv2.imread(str(images[0]))
    found, expected = ours.candidates(image), theirs.candidates(image)
    difference = np.abs(found[:, 4:] - expected[:, 4:])
    assert difference.max() > 0
    assert difference.mean() < 0.02


def test_the_same_images_give_the_same_file_and_nothing_on_stdout(
    onnx_file, int8_file, images, tmp_path, capsys
):
    again = quantize_int8(
        onnx_file, "onnx", calibration_inputs(images, HW, 5), out=tmp_path / "again.onnx"
    )
    assert again.read_bytes() == int8_file.read_bytes()
    assert capsys.readouterr().out == ""


def test_ranges_come_from_the_images(onnx_file, tmp_path):
    def input_scale(brightest: float) -> float:
        values = np.linspace(0, brightest, 3 * HW[0] * HW[1], dtype=np.float32).reshape(1, 3, *HW)
        graph = onnx.load(
            quantize_int8(onnx_file, "onnx", [values], out=tmp_path / "made.onnx")
        ).graph
        name = graph.input[0].name
        scale = next(
            node.input[1]
            for node in graph.node
            if node.op_type == "QuantizeLinear" and node.input[0] == name
        )
        return next(
            float(onnx.numpy_helper.to_array(value))
            for value in graph.initializer
            if value.name == scale
        )

    assert input_scale(1.0) == pytest.approx(1 / 255, rel=5e-3)
    assert input_scale(0.5) == pytest.approx(0.5 / 255, rel=5e-3)


@pytest.mark.slow
def test_openvino_keeps_the_named_parts_in_float_and_runs(weights, images, tmp_path):
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    made = quantize_int8(
        exact(weights, "openvino"),
        "openvino",
        calibration_inputs(images, HW, 2),
        out=tmp_path / "int8",
    )
    model = openvino.Core().read_model(next(made.glob("*.xml")))
    kinds: dict[str, set[str]] = {}
    for one in model.get_ops():
        if one.get_type_name() in {"Convolution", "GroupConvolution"}:
            feeders = {source.get_node().get_type_name() for source in one.input_values()}
            kinds[one.get_friendly_name()] = feeders
    in_float = {name for name, feeders in kinds.items() if "FakeQuantize" not in feeders}
    assert {layer(name) for name in in_float} == {EMA_LAYER, HEAD_LAYER}
    assert all(name in in_float for name in kinds if layer(name) == EMA_LAYER)
    assert len([name for name in in_float if re.search(r"cv[23]\.\d\.2/", name)]) == 6
    answer = openvino.Core().compile_model(model, "CPU")(calibration_inputs(images, HW, 1)[0])[0]
    assert np.isfinite(answer).all()


def test_inputs_are_spread_evenly_and_letterboxed_as_at_inference(images):
    inputs = calibration_inputs(images, (96, 96), 3)
    assert [image.name for image in inputs.images] == ["0.png", "2.png", "4.png"]
    assert len(calibration_inputs(images, HW, 100)) == 5
    framed = LetterBox((96, 96), auto=False)(image=cv2.imread(str(images[2])))
    np.testing.assert_allclose(inputs[1][0], framed[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)
    assert inputs[1].shape == (1, 3, 96, 96)
    assert inputs[1].dtype == np.float32


def test_no_images_are_an_error_and_never_a_download(onnx_file, tmp_path):
    with pytest.raises(DataNotFoundError, match="--calibrate"):
        calibration_inputs([], HW, 4)
    with pytest.raises(DataNotFoundError, match="--calibrate"):
        quantize_int8(onnx_file, "onnx", [], out=tmp_path / "made.onnx")
    assert not list(tmp_path.iterdir())


def test_wrong_requests_are_named(onnx_file, tmp_path, images):
    with pytest.raises(ConfigError, match="torchscript"):
        quantize_int8(
            onnx_file, "torchscript", calibration_inputs(images, HW, 1), out=tmp_path / "made"
        )
    with pytest.raises(ConfigError, match="'neck'"):
        quantize_int8(
            onnx_file,
            "onnx",
            calibration_inputs(images, HW, 1),
            out=tmp_path / "made",
            keep_float=("neck",),
        )
    with pytest.raises(ConfigError, match="'mean'"):
        quantize_int8(
            onnx_file,
            "onnx",
            calibration_inputs(images, HW, 1),
            out=tmp_path / "made",
            ranges="mean",
        )
    with pytest.raises(ConfigError, match="0 images"):
        calibration_inputs(images, HW, 0)


@pytest.mark.parametrize(
    ("format_name", "package", "extra"),
    [("onnx", "onnxruntime", "onnx"), ("openvino", "nncf", "int8")],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch, tmp_path, format_name, package, extra
):
    importing = builtins.__import__

    def refuse(name, *arguments, **named):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {package!r}", name=package)
        return importing(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackageError, match=re.escape(f"yolo-ema[{extra}]")):
        quantize_int8(
            tmp_path / "a", format_name, [np.zeros((1, 3, *HW), np.float32)], out=tmp_path / "b"
        )


def test_openvino_names_are_recognised():
    nodes = [
        ("__module.model.7/aten::instance_norm/MVN", "MVN"),
        ("__module.model.7/aten::_convolution/Convolution", "Convolution"),
        ("__module.model.8.conv/aten::_convolution/Convolution", "Convolution"),
        ("__module.model.28.cv2.0.1.conv/aten::_convolution/Convolution", "Convolution"),
        ("__module.model.28.cv2.0.2/aten::_convolution/Convolution", "Convolution"),
        ("__module.model.28.one2one_cv3.0.2/aten::_convolution/Convolution", "Convolution"),
        ("__module.model.28/aten::cat/Concat", "Concat"),
    ]
    assert float_nodes(nodes, ()) == [nodes[6][0]]
    assert float_nodes(nodes, ("ema",)) == [nodes[0][0], nodes[1][0], nodes[6][0]]
    assert float_nodes(nodes, ("head",)) == [nodes[4][0], nodes[5][0], nodes[6][0]]
