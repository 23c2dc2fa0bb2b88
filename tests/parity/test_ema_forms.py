"""The closed form against the direct one: outputs and every gradient, in every formulation that the
block has.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.nn import EfficientMultiScaleAttention, trace_for

sys.path.insert(0, str(Path(__file__).parent))
from direct_ema import DirectEMA

SIZES = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (3, 3), (5, 7), (8, 20)]


def twins(
    channels: int, groups: int, seed: int = 0
) -> tuple[DirectEMA, EfficientMultiScaleAttention]:
    torch.manual_seed(seed)
    direct, block = DirectEMA(channels, groups), EfficientMultiScaleAttention(channels, groups)
    assert block.groups == groups
    for parameter in direct.parameters():
        parameter.data.normal_(std=0.7)
    block.load_state_dict(direct.state_dict())
    return direct, block


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest deviation, relative to the largest entry but to no less than 1: the inputs are of
    unit scale.
    """
    return float(
        (found - expected).detach().abs().max() / expected.detach().abs().max().clamp_min(1)
    )


def gradient(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter's gradient; zero where nothing depends on it, as on the scale of a single pixel's
    normalisation.
    """
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def differences(direct, call, block, x, weight) -> list[float]:
    """Relative differences of the output and of every gradient."""
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    outs = [direct(leaves[0]), call(leaves[1])]
    for out in outs:
        (out * weight).sum().backward()
    pairs = [(outs[1], outs[0]), (leaves[1].grad, leaves[0].grad)]
    pairs += [
        (gradient(mine), gradient(theirs))
        for mine, theirs in zip(block.parameters(), direct.parameters(), strict=True)
    ]
    return [relative(mine, theirs) for mine, theirs in pairs]


@pytest.mark.parametrize("form", ["eager", "graph", "onnx"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (16, 2), (12, 1)])
def test_float64_agrees_to_ten_digits(form, size, channels, groups):
    direct, block = twins(channels, groups)
    direct.double()
    block.double()
    x, weight = torch.randn(2, 2, channels, *size, dtype=torch.float64)
    call = {"eager": block, "graph": block._graph, "onnx": block._onnx}[form]
    assert max(differences(direct, call, block, x, weight)) < 1e-10


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_graph_of_fixed_size_agrees(size):
    direct, block = twins(16, 8)
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    assert relative(block.double()._fixed(x), direct.double()(x)) < 1e-10


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 5),
    width=st.integers(2, 9),
    height=st.integers(1, 14),
    across=st.integers(1, 14),
    seed=st.integers(0, 2**31),
)
def test_float64_agrees_on_any_shape(batch, groups, width, height, across, seed):
    direct, block = twins(groups * width, groups, seed)
    direct.double()
    block.double()
    x, weight = torch.randn(2, batch, groups * width, height, across, dtype=torch.float64)
    assert max(differences(direct, block, block, x, weight)) < 1e-10


def test_float32_agrees_with_float64():
    direct, block = twins(64, 8)
    x = torch.randn(2, 64, 20, 20)
    assert relative(block(x).double(), direct.double()(x.double())) < 1e-5


@pytest.fixture(autouse=True)
def _quiet_exporters():
    """The exporters that Ultralytics uses are deprecated in torch and say so at length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_traced_and_scripted():
    direct, block = twins(32, 8)
    traced = torch.jit.trace(block.eval(), torch.randn(2, 32, 12, 9), check_trace=False)
    scripted = torch.jit.script(block)
    for shape in [(2, 32, 12, 9), (1, 32, 5, 16), (3, 32, 1, 1), (1, 32, 1, 7)]:
        x = torch.randn(shape)
        for module in (traced, scripted):
            torch.testing.assert_close(module(x), direct.eval()(x), rtol=1e-4, atol=1e-5)
    assert scripted(torch.randn(1, 32, 4, 4).half()).dtype == torch.float16


def onnx_file(block, folder: Path) -> Path:
    file = folder / "block.onnx"
    axes = {0: "batch", 2: "height", 3: "width"}
    x = torch.randn(2, 32, 12, 9)
    torch.onnx.export(
        block.eval(),
        (x,),
        str(file),
        opset_version=18,
        dynamo=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": axes, "y": axes},
    )
    return file


def test_onnx_runtime_with_dynamic_batch_height_and_width(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    direct, block = twins(32, 8)
    session = onnxruntime.InferenceSession(
        onnx_file(block, tmp_path), providers=["CPUExecutionProvider"]
    )
    for shape in [(2, 32, 12, 9), (1, 32, 5, 16), (3, 32, 1, 1), (1, 32, 1, 7), (1, 32, 40, 40)]:
        x = torch.randn(shape)
        found = session.run(None, {"x": x.numpy()})[0]
        np.testing.assert_allclose(found, direct.eval()(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_onnx_folds_what_depends_on_parameters_alone(tmp_path):
    onnxruntime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    _, block = twins(32, 8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(
        onnx_file(block, tmp_path), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node]
    assert (
        kinds.count("Softmax") == 1
    )  # that of the means of the convolution; softmax(β) is a constant
    assert "Conv" in kinds or "ConvTranspose" in kinds


def test_openvino(tmp_path):
    openvino = pytest.importorskip("openvino")
    direct, block = twins(32, 8)
    example = torch.randn(2, 32, 12, 9)
    models = {
        "from torch": openvino.convert_model(
            torch.jit.trace(block.eval(), example, check_trace=False), example_input=example
        ),
        "from ONNX": openvino.convert_model(onnx_file(block, tmp_path)),
    }
    for name, model in models.items():
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for shape in [(2, 32, 12, 9), (1, 32, 5, 16)]:
            x = torch.randn(shape)
            np.testing.assert_allclose(
                compiled(x.numpy())[0],
                direct.eval()(x).detach().numpy(),
                rtol=1e-4,
                atol=1e-5,
                err_msg=name,
            )


def test_ncnn(tmp_path, monkeypatch):
    pnnx, ncnn = pytest.importorskip("pnnx"), pytest.importorskip("ncnn")
    direct, block = twins(32, 8)
    trace_for(block, fixed_size=True)
    x = torch.randn(1, 32, 12, 9)
    monkeypatch.chdir(tmp_path)
    pnnx.export(block.eval(), "block.pt", inputs=x, fp16=False)
    layers = (tmp_path / "block.ncnn.param").read_text(encoding="utf-8").splitlines()[2:]
    assert not [
        line for line in layers if "::" in line.split()[0] or line.startswith("pnnx")
    ]  # what was left unconverted
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    assert net.load_param("block.ncnn.param") == net.load_model("block.ncnn.bin") == 0
    with net.create_extractor() as extractor:
        extractor.input(net.input_names()[0], ncnn.Mat(x[0].numpy()))
        found = np.array(extractor.extract(net.output_names()[0])[1])
    np.testing.assert_allclose(found, direct.eval()(x)[0].detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_torch_export_with_dynamic_batch_height_and_width():
    direct, block = twins(16, 4)
    any_size = {
        0: torch.export.Dim("batch", min=1),
        2: torch.export.Dim("height", min=2),
        3: torch.export.Dim("width", min=2),
    }
    program = torch.export.export(
        block.eval(), (torch.randn(2, 16, 6, 5),), dynamic_shapes={"x": any_size}
    ).module()
    x = torch.randn(3, 16, 9, 7)
    torch.testing.assert_close(program(x), direct.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_output_and_gradients():
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        pytest.skip("torch.compile needs a C++ compiler, and this machine has none")
    direct, block = twins(16, 4)
    compiled = torch.compile(block, fullgraph=True)
    x, weight = torch.randn(2, 2, 16, 6, 5)
    assert max(differences(direct, compiled, block, x, weight)) < 1e-4
