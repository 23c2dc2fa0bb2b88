from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from yolo_ema.errors import ConfigError
from yolo_ema.nn import EfficientMultiScaleAttention, fitting_groups
from yolo_ema.nn.ema_eager import GroupedAttention


def block(channels: int = 16, factor: int = 4, seed: int = 0) -> EfficientMultiScaleAttention:
    torch.manual_seed(seed)
    made = EfficientMultiScaleAttention(channels, factor)
    for parameter in made.parameters():
        parameter.data.normal_(std=0.5)
    return made


@pytest.mark.parametrize(
    ("channels", "factor", "groups"),
    [
        (64, 8, 8),
        (64, 32, 32),  # two channels a group still weigh against each other
        (32, 32, 16),  # one would not
        (8, 8, 4),
        (12, 8, 6),
        (20, 8, 10),
        (18, 6, 6),
        (24, 5, 4),  # 4 and 6 are as near: more channels a group
        (7, 8, 1),
        (2, 8, 1),
        (1, 8, 1),
        (64, 10_000, 32),
    ],
)
def test_group_count_is_the_nearest_that_fits(channels, factor, groups):
    assert fitting_groups(channels, factor) == groups
    assert EfficientMultiScaleAttention(channels, factor).groups == groups


@pytest.mark.parametrize(
    ("channels", "factor", "named"),
    [
        (0, 8, "channels"),
        (-4, 8, "channels"),
        (8, 0, "factor"),
        (8.0, 8, "channels"),
        (True, 8, "channels"),
    ],
)
def test_wrong_arguments_are_named(channels, factor, named):
    with pytest.raises(ConfigError, match=f"{named} must be a whole number of at least 1"):
        EfficientMultiScaleAttention(channels, factor)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(16, 4, 4),
        torch.zeros(1, 8, 4, 4),
        torch.zeros(1, 16, 4, 4, dtype=torch.int64),
        torch.zeros(1, 16, 0, 4),
    ],
    ids=str,
)
def test_wrong_input_says_what_was_expected(x):
    with pytest.raises(ConfigError, match=r"\(B, 16, H, W\)"):
        block()(x)


def test_state_dict_has_the_authors_names_and_shapes():
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in EfficientMultiScaleAttention(64, 8).state_dict().items()
    }
    assert shapes == {
        "conv1x1.weight": (8, 8, 1, 1),
        "conv1x1.bias": (8,),
        "conv3x3.weight": (8, 8, 3, 3),
        "conv3x3.bias": (8,),
        "gn.weight": (8,),
        "gn.bias": (8,),
    }


@pytest.mark.parametrize("channels", [16, 64])
def test_parameter_count_is_ten_k_squared_and_four_k(channels):
    width = channels // 8
    assert (
        sum(parameter.numel() for parameter in EfficientMultiScaleAttention(channels).parameters())
        == 10 * width**2 + 4 * width
    )


def test_repr_names_channels_and_groups():
    assert "channels=16, groups=4" in repr(block())


def test_empty_batch():
    assert block()(torch.zeros(0, 16, 4, 4)).shape == (0, 16, 4, 4)


def test_single_pixel_trains():
    made = block().train()
    x = torch.randn(1, 16, 1, 1, requires_grad=True)
    made(x).sum().backward()
    assert x.grad.isfinite().all()
    assert made.conv3x3.bias.grad.isfinite().all()


def test_gradcheck_of_everything():
    made = block(8, 2).double()
    names = [name for name, _ in made.named_parameters()]
    x = torch.randn(2, 8, 4, 3, dtype=torch.float64, requires_grad=True)

    def call(x, *parameters):
        return torch.func.functional_call(made, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *made.parameters()))


def test_second_derivative_is_refused_clearly():
    x = torch.randn(1, 16, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(block()(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


def test_frozen_parameters_get_no_gradient():
    made = block().requires_grad_(False)
    x = torch.randn(1, 16, 5, 5, requires_grad=True)
    made(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in made.parameters())


def test_nothing_is_kept_without_gradients():
    with torch.no_grad():
        assert block()(torch.randn(1, 16, 5, 5)).grad_fn is None


def test_slabs_change_nothing(monkeypatch):
    made, x = block().double(), torch.randn(3, 16, 6, 5, dtype=torch.float64)
    results = []
    for elements in (
        1,
        6 * 5 * 4 * 3,
        6 * 5 * 16 * 2,
        1 << 20,
    ):  # a group, three groups, two images, everything
        monkeypatch.setattr("yolo_ema.nn.ema_eager.SLAB_ELEMENTS", elements)
        leaf = x.clone().requires_grad_()
        made.zero_grad()
        out = made(leaf)
        out.square().sum().backward()
        results.append(
            [out.detach(), leaf.grad, *(parameter.grad.clone() for parameter in made.parameters())]
        )
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-12, atol=1e-12)


def test_channels_last_keeps_values_and_layout():
    made, x = block(), torch.randn(2, 16, 6, 5)
    plain, last = (
        x.clone().requires_grad_(),
        x.to(memory_format=torch.channels_last).requires_grad_(),
    )
    a, b = made(plain), made(last)
    assert b.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(plain.grad, last.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e3])
@pytest.mark.parametrize("kind", ["noise", "constant"])
def test_half_precision_is_the_float32_result_rounded(dtype, size, kind):
    made = block().to(dtype)
    wide = copy.deepcopy(made).float()
    x = (
        (torch.randn(2, 16, 9, 7) if kind == "noise" else torch.ones(2, 16, 9, 7))
        .clamp(-1, 1)
        .mul(size)
        .to(dtype)
    )
    leaf = x.clone().requires_grad_()
    out = made(leaf)
    assert out.dtype == dtype
    assert out.isfinite().all()
    torch.testing.assert_close(
        out.float(),
        wide(x.float()),
        rtol=2e-2 if dtype == torch.bfloat16 else 2e-3,
        atol=1e-3 * size,
    )
    out.mean().backward()
    assert leaf.grad.isfinite().all()
    assert made._graph(x).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_float32(dtype):
    made, x = block(), torch.randn(2, 16, 9, 7)
    with torch.autocast("cpu", dtype=dtype):
        torch.testing.assert_close(made(x), made._dispatch(x))
        assert made(x).dtype == torch.float32
        narrow = made(x.to(dtype).requires_grad_())
        narrow.float().sum().backward()
    assert narrow.dtype == dtype
    assert made.conv1x1.weight.grad.isfinite().all()


def test_autocast_does_not_change_the_result():
    made, x = block(), torch.randn(2, 16, 9, 7)
    plain = made(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(x), plain)


def test_large_mean_keeps_the_spread():
    """A mean 10,000 times the spread: the variance is taken of the centred map, so float32 still
    knows it.
    """
    made = block()
    x = 1e3 + 0.1 * torch.randn(1, 16, 16, 16)
    wide = copy.deepcopy(made).double()
    torch.testing.assert_close(made(x), wide(x.double()).float(), rtol=1e-2, atol=0)


def test_deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            made, leaf = (
                block(),
                torch.linspace(-1, 1, 2 * 16 * 11 * 7).view(2, 16, 11, 7).requires_grad_(),
            )
            made(leaf).square().sum().backward()
            runs.append([leaf.grad, *(parameter.grad for parameter in made.parameters())])
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    finally:
        torch.use_deterministic_algorithms(before)


def test_copies_and_pickles_are_the_same_block():
    made, x = block().eval(), torch.randn(1, 16, 6, 6)
    copied, pickled = copy.deepcopy(made), pickle.loads(pickle.dumps(made))
    assert torch.equal(copied(x), made(x))
    assert torch.equal(pickled(x), made(x))
    assert type(pickled).__module__ == "yolo_ema.nn.ema"


def test_whole_module_loads_with_an_allow_list():
    made, x, file = block().eval(), torch.randn(1, 16, 6, 6), io.BytesIO()
    torch.save(made, file)
    allowed = [EfficientMultiScaleAttention, torch.nn.Conv2d, torch.nn.GroupNorm, set]
    with torch.serialization.safe_globals(allowed):
        loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    assert torch.equal(loaded(x), made(x))


def test_eager_uses_the_lean_formulation():
    assert (
        type(block()(torch.randn(1, 16, 3, 3, requires_grad=True)).grad_fn).__name__
        == f"{GroupedAttention.__name__}Backward"
    )


def test_half_the_direct_forms_bytes_are_kept_at_most():
    """Little more than the input, where the direct form keeps gated, normalised and convolved maps
    too.
    """
    made, x = EfficientMultiScaleAttention(64), torch.randn(1, 64, 40, 40, requires_grad=True)
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = made(x)
    assert sum(kept.values()) < 1.4 * x.untyped_storage().nbytes()
    del out
