from __future__ import annotations

import copy
import io
import sys
import warnings

import numpy as np
import pytest
import torch
from direct_attention import FORMS

from yolo_ema.errors import ConfigError, MachineError, ModelError
from yolo_ema.nn.attention.catalog import ATTENTIONS, BLOCKS, attention

NAMES = list(ATTENTIONS)
WITH_PARAMETERS = [name for name in NAMES if name != "none"]
SIZES = [(7, 5), (1, 1), (1, 9), (16, 3)]


def lively(name: str, channels: int = 64, seed: int = 0) -> torch.nn.Module:
    """Return a block whose every number matters, running statistics of norms included."""
    torch.manual_seed(seed)
    made = attention(name).build(channels)
    for parameter in made.parameters():
        parameter.data.normal_(std=0.3)
    for key, buffer in made.named_buffers():
        if "var" in key:
            buffer.uniform_(0.5, 2)
        elif buffer.is_floating_point():
            buffer.normal_(std=0.3)
    return made.eval()


def numbers_of(block: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in block.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size_hw", SIZES, ids=str)
def test_equals_its_papers_formula_step_by_step(name, size_hw):
    block = lively(name).double()
    x = torch.randn(2, 64, *size_hw, dtype=torch.float64)
    expected = FORMS[name](x.numpy(), numbers_of(block))
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [16, 24, 130])
def test_keeps_shape_type_and_memory_format(name, channels):
    block = lively(name, channels)
    x = torch.randn(2, channels, 6, 5).contiguous(memory_format=torch.channels_last)
    result = block(x)
    assert result.shape == x.shape
    assert result.dtype == x.dtype
    torch.testing.assert_close(result, block(x.contiguous()), rtol=1e-4, atol=1e-5)
    assert copy.deepcopy(block).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_under_autocast_stays_near(name):
    block, x = lively(name), torch.randn(2, 64, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = block(x)
    torch.testing.assert_close(result.float(), block(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradients_of_the_input_and_of_every_parameter(name):
    block = lively(name, 8).double()
    x = torch.randn(2, 8, 4, 3, dtype=torch.float64, requires_grad=True)
    names = [key for key, _ in block.named_parameters()]

    def call(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    values = tuple(value.detach().clone().requires_grad_() for value in block.parameters())
    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 2])
def test_trains_on_the_smallest_maps(name, batch):
    block = lively(name).train()
    x = torch.randn(batch, 64, 2, 2, requires_grad=True)
    block(x).sum().backward()
    assert x.grad.isfinite().all()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in block.parameters()
    )


@pytest.mark.parametrize("name", NAMES)
def test_torchscript_and_export_give_the_same(name):
    block, x = lively(name), torch.randn(2, 64, 6, 5)
    expected = block(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such
        scripted = torch.jit.script(block)
        stored = io.BytesIO()
        torch.jit.save(scripted, stored)
        stored.seek(0)
        torch.testing.assert_close(torch.jit.load(stored)(x), expected, rtol=1e-4, atol=1e-5)
        exported = torch.export.export(block, (x,)).module()
    torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("opset", [17])
def test_onnx_takes_any_size(name, opset, tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    block, file = lively(name), tmp_path / "block.onnx"
    axes = {"x": {0: "b", 2: "h", 3: "w"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing and the exporter say of themselves
        torch.onnx.export(
            block,
            (torch.randn(1, 64, 8, 8),),
            str(file),
            opset_version=opset,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
        )
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 8, 8), (3, 64, 5, 11)):
        x = torch.randn(shape)
        (result,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(result, block(x).detach().numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WITH_PARAMETERS)
@pytest.mark.parametrize("wrong", [0, -8, 8.0, True])
def test_wrong_channels_are_named(name, wrong):
    with pytest.raises(ConfigError, match="channels must be a whole number of at least 1"):
        attention(name).build(wrong)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("se", (0,), "SE: reduction"),
        ("sa", (0,), "shuffle attention: groups"),
        ("bam", (16, 0), "BAM: dilation"),
        ("bam", (16, 1.5), "BAM: dilation"),
        ("ema", (0,), "EMA: factor"),
        ("ema-early", (-1,), "EMA: factor"),
    ],
)
def test_a_wrong_setting_is_named(name, arguments, said):
    message = f"^{said} must be a whole number of at least 1, not {arguments[-1]}$"
    with pytest.raises(ConfigError, match=message):
        attention(name).build(64, *arguments)


def test_odd_channels_cannot_be_shuffled():
    with pytest.raises(ConfigError, match="15 channels; expected an even number"):
        attention("sa").build(15)


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(ModelError, match=r"no attention block is named 'cbma'.*cbam"):
        attention("cbma")
    with pytest.raises(ModelError, match=r"named 'TAM'; did you mean 'triplet'"):
        attention("TAM")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MachineError, match=r"yolo-ema\[attention\]"):
        attention("se").build(64)


def test_every_block_is_in_the_catalogue():
    assert {entry.block for entry in ATTENTIONS.values()} == {*BLOCKS, "nn.Identity"}
    assert all(block.__module__.startswith("yolo_ema.nn.") for block in BLOCKS.values())


@pytest.mark.parametrize(
    ("name", "channels", "count"),
    [
        ("se", 256, 2 * 256 * 16 + 256 + 16),
        ("cbam", 256, 2 * 256 * 16 + 256 + 16 + 2 * 49 + 2),
        ("eca", 256, 5),
        ("ca", 256, 3 * 256 * 8 + 8 + 2 * 8 + 2 * 256),
        ("sa", 256, 6 * 256 // (2 * 64)),
        ("nam", 256, 2 * 256),
        ("triplet", 256, 3 * (2 * 49 + 2)),
        ("gam", 256, (2 + 2 * 49) * 256 * 16 + 4 * (256 + 16)),
        ("ema-g32", 256, 10 * 8**2 + 4 * 8),
        ("ema-early", 64, 7 * 8**2 + 5 * 8),
        ("ema-no-cross", 64, 10 * 8**2 + 4 * 8),
        ("ema-no-3x3", 64, 8**2 + 3 * 8),
        ("ema-no-1x1", 64, 9 * 8**2 + 8),
    ],
)
def test_parameter_counts(name, channels, count):
    assert sum(p.numel() for p in attention(name).build(channels).parameters()) == count
